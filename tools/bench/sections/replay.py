"""Replay: what an event costs when a store is opened that has no checkpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.child import left_open
from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.sections.prepared import QUIET
from tools.bench.workload import create_by_threads, fill

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures


def run(bench: Bench) -> Section:
    """Let the sources take turns; each has a log of its own."""
    section = Section()
    count = bench.sizes.replayed
    logs = {source: str(bench.path(f"log-{source.name}")) for source in bench.sources}
    for source, path in logs.items():
        measured(source, written, path=path, count=count)
    for _ in range(bench.sizes.rounds):
        for source, path in logs.items():
            section.add(source.name, measured(source, replayed, path=path, count=count))
    bench.compare_sources(section)
    return section


def written(path: str, count: int) -> Figures:
    """Write a log of creates, each a batch of its own, and be killed."""
    store = MetaStore.open(path, options=QUIET)
    left_open(store)
    fill(store, 0)
    create_by_threads(store, range(count))
    return {}


def replayed(path: str, count: int) -> Figures:
    """Open it, and be killed again."""
    wall, cpu = time.perf_counter(), time.process_time()
    left_open(MetaStore.open(path, options=QUIET))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"us_an_event": wall / count * 1e6, "cpu_us_an_event": cpu / count * 1e6}
