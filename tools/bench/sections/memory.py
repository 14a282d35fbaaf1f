"""Memory of a snapshot, by what the process has: live, reopened, and after every row was read.

Also what an open from a checkpoint takes, and the first read of a row after it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.child import left_open
from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.sections.prepared import QUIET, resident_bytes
from tools.bench.workload import layer_name

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures

_FIRST_READS = 1000


def run(bench: Bench) -> Section:
    """Let the sources take turns. Filling the large store is measured once."""
    section = Section()
    count = bench.sizes.snapshots
    for source in bench.sources:
        section.add(source.name, bench.prepared(source, count)[1])
    for _ in range(bench.sizes.large_rounds):
        for source in bench.sources:
            path = str(bench.prepared(source, count)[0])
            section.add(source.name, measured(source, reopened, path=path, count=count))
    bench.compare_sources(section)
    return section


def reopened(path: str, count: int) -> Figures:
    """Open a filled store and read all of it."""
    before, start = resident_bytes(), time.perf_counter()
    store = MetaStore.open(path, options=QUIET)
    figures = {
        "open_from_checkpoint_s": time.perf_counter() - start,
        "reopened_bytes_each": (resident_bytes() - before) / count,
    }
    left_open(store)
    spread = range(0, count, max(1, count // _FIRST_READS))
    names = [layer_name(number) for number in spread]
    wall, cpu = time.perf_counter(), time.process_time()
    for name in names:
        with store.transaction() as transaction:
            transaction.get_info(name)
    figures["first_read_us"] = (time.perf_counter() - wall) / len(names) * 1e6
    figures["first_read_cpu_us"] = (time.process_time() - cpu) / len(names) * 1e6
    with store.transaction() as transaction:
        for number in range(count):
            transaction.get_info(layer_name(number))
    figures["all_read_bytes_each"] = (resident_bytes() - before) / count
    return figures
