"""Opening the large store when as much as the default policy lets come together must be replayed.

How much that is, is found out: creates are committed until a checkpoint in the background has
ended, and on until nearly as many batches lie behind that one. Then the process is killed.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.child import left_open
from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.workload import create_by_threads

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures

_CREATES_AT_ONCE = 1000
_NEARLY = 0.95


def run(bench: Bench) -> Section:
    """Open it after a kill, then after a clean close."""
    section = Section()
    for source in bench.sources:
        path = bench.copy(source, bench.sizes.snapshots)
        batches_max = bench.sizes.batches_behind_max
        worst = measured(source, brought_behind, path=str(path), batches_max=batches_max)
        section.add(source.name, worst)
        for _ in range(bench.sizes.large_rounds):
            killed = bench.path("killed")
            shutil.copytree(path, killed)
            figures = measured(source, opened, path=str(killed), prefix="killed")
            figures |= measured(source, closed, path=str(killed))
            figures |= measured(source, opened, path=str(killed), prefix="closed")
            section.add(source.name, figures)
            shutil.rmtree(killed)
    bench.compare_sources(section)
    return section


def brought_behind(path: str, batches_max: int) -> Figures:
    """Commit under the default policy until the most lies behind a checkpoint; be killed there."""
    store = MetaStore.open(path)
    left_open(store)
    most = behind = number = checkpoints = 0
    while number < batches_max and not (most and behind >= most * _NEARLY):
        first, number = number, min(number + _CREATES_AT_ONCE, batches_max)
        create_by_threads(store, range(first, number))
        before, behind = behind, _batches_behind(store)
        if behind < before:
            most = max(most, before)
            checkpoints += 1
    return {"behind_count": behind, "checkpoint_count": checkpoints}


def _batches_behind(store: MetaStore) -> int:
    stats = store.stats()
    behind: int = stats["revision"] - stats["checkpoint_revision"]
    return behind


def opened(path: str, prefix: str) -> Figures:
    """Open it under the default policy, and be killed."""
    wall, cpu = time.perf_counter(), time.process_time()
    store = MetaStore.open(path)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    left_open(store)
    return {f"{prefix}_open_s": wall, f"{prefix}_open_cpu_s": cpu}


def closed(path: str) -> Figures:
    """Open it, and close it cleanly."""
    store = MetaStore.open(path)
    start = time.perf_counter()
    store.close()
    return {"close_s": time.perf_counter() - start}
