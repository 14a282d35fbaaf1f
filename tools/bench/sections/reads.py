"""A read transaction with one `get_info`: alone, and beside a writer that never rests."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.children import measured
from tools.bench.results import Section, percentile_99
from tools.bench.sections.prepared import QUIET
from tools.bench.workload import create, fill, layer_name

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures


def run(bench: Bench) -> Section:
    """Let the sources take turns."""
    section = Section()
    sizes = bench.sizes
    for _ in range(sizes.rounds):
        for source in bench.sources:
            counts = {"rows": sizes.small, "count": sizes.reads}
            path = str(bench.path("reads"))
            section.add(source.name, measured(source, read, path=path, **counts))
    ours = bench.sources[0].name
    section.compare((ours, "p99_beside_writer_us"), (ours, "p99_us"))
    bench.compare_sources(section)
    return section


def read(path: str, rows: int, count: int) -> Figures:
    """Measure in a new store of some rows."""
    store = MetaStore.open(path, options=QUIET)
    fill(store, rows)
    names = [layer_name(number) for number in range(rows)] * (count // rows)
    _read_all(store, names[:rows])
    wall, cpu = time.perf_counter(), time.thread_time()
    _read_all(store, names)
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    alone = _each(store, names)
    resting, written = threading.Event(), [0]
    writer = threading.Thread(target=_write, args=(store, resting, written))
    writer.start()
    try:
        beside = _each(store, names)
    finally:
        resting.set()
        writer.join()
    return {
        "us": wall / len(names) * 1e6,
        "cpu_us": cpu / len(names) * 1e6,
        "p99_us": percentile_99(alone) / 1e3,
        "p99_beside_writer_us": percentile_99(beside) / 1e3,
        "beside_count": written[0],
    }


def _read_all(store: MetaStore, names: list[str]) -> None:
    for name in names:
        with store.transaction() as transaction:
            transaction.get_info(name)


def _each(store: MetaStore, names: list[str]) -> list[int]:
    """Return the nanoseconds of each read."""
    found = []
    for name in names:
        start = time.perf_counter_ns()
        with store.transaction() as transaction:
            transaction.get_info(name)
        found.append(time.perf_counter_ns() - start)
    return found


def _write(store: MetaStore, resting: threading.Event, written: list[int]) -> None:
    while not resting.is_set():
        create(store, written[0])
        written[0] += 1
