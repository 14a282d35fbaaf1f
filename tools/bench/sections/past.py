"""The past: `at` of revisions all over a store of many batches, against an open of it."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.child import left_open
from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.workload import PARENT, create_by_threads, fill

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures

_PLACES = 10


def run(bench: Bench) -> Section:
    """Let the sources take turns; there are as many batches as snapshots in the large store."""
    section = Section()
    paths = {source: str(bench.path(f"past-{source.name}")) for source in bench.sources}
    for source, path in paths.items():
        figures = measured(source, written, path=path, count=bench.sizes.snapshots)
        section.add(source.name, figures)
    for _ in range(bench.sizes.large_rounds):
        for source, path in paths.items():
            section.add(source.name, measured(source, looked_back, path=path))
    ours = bench.sources[0].name
    for figure in ("at_longest_s", "at_median_s"):
        section.compare((ours, figure), (ours, "open_s"))
    bench.compare_sources(section)
    return section


def written(path: str, count: int) -> Figures:
    """Commit creates under the default policy, and close."""
    with MetaStore.open(path) as store:
        fill(store, 0)
        create_by_threads(store, range(count))
        stats = store.stats()
    return {
        "batch_count": stats["revision"],
        "checkpoint_mib": stats["checkpoint_bytes"] / 2**20,
        "archive_mib": stats["archive_bytes"] / 2**20,
    }


def looked_back(path: str) -> Figures:
    """Open it, and look at revisions from the first to the last."""
    start = time.perf_counter()
    store = MetaStore.open(path)
    open_s = time.perf_counter() - start
    left_open(store)
    newest = store.stats()["durable_revision"]
    seconds = [_at(store, 1 + (newest - 1) * place // _PLACES) for place in range(_PLACES + 1)]
    return {
        "open_s": open_s,
        "at_longest_s": max(seconds),
        "at_median_s": statistics.median(seconds),
    }


def _at(store: MetaStore, revision: int) -> float:
    start = time.perf_counter()
    with store.at(revision) as transaction:
        transaction.get_info(PARENT)
    return time.perf_counter() - start
