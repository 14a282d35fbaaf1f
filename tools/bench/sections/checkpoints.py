"""Checkpoints of the large store: 1 % changed, all changed, and commits beside one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.children import measured
from tools.bench.results import Section, percentile_99
from tools.bench.sections.prepared import QUIET
from tools.bench.workload import ACTOR, create, labels_of, layer_name

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures

_CHANGES_AT_ONCE = 1000
_COMMITS_MIN = 1000


def run(bench: Bench) -> Section:
    """Let the sources take turns."""
    section = Section()
    count = bench.sizes.snapshots
    for _ in range(bench.sizes.large_rounds):
        for source in bench.sources:
            path = str(bench.copy(source, count))
            section.add(source.name, measured(source, written, path=path, count=count))
    ours = bench.sources[0].name
    section.compare((ours, "commit_p99_beside_us"), (ours, "commit_p99_us"))
    bench.compare_sources(section)
    return section


def written(path: str, count: int) -> Figures:
    """Change labels, write a checkpoint, and so on."""
    figures = {}
    with MetaStore.open(path, options=QUIET) as store:
        for name, step in (("1_percent", 100), ("all", 1)):
            _change(store, range(0, count, step), name)
            wall, cpu = time.perf_counter(), time.process_time()
            store.checkpoint()
            figures[f"{name}_s"] = time.perf_counter() - wall
            figures[f"{name}_cpu_s"] = time.process_time() - cpu
        alone = [_commit(store, number) for number in range(_COMMITS_MIN)]
        _change(store, range(count), "again")
        beside, took = _commits_beside_checkpoint(store)
    return {
        **figures,
        "commit_p99_us": percentile_99(alone) / 1e3,
        "commit_p99_beside_us": percentile_99(beside) / 1e3,
        "beside_count": len(beside),
        "all_beside_commits_s": took,
    }


def _change(store: MetaStore, numbers: range, value: str) -> None:
    for start in range(0, len(numbers), _CHANGES_AT_ONCE):
        with store.transaction(writable=True, actor=ACTOR) as transaction:
            for number in numbers[start : start + _CHANGES_AT_ONCE]:
                labels = {**labels_of(number), "changed": value}
                transaction.update_info(layer_name(number), labels)


def _commit(store: MetaStore, number: int) -> int:
    start = time.perf_counter_ns()
    create(store, number)
    return time.perf_counter_ns() - start


def _commits_beside_checkpoint(store: MetaStore) -> tuple[list[int], float]:
    """Commit for as long as a checkpoint is written; return nanoseconds, and its seconds."""
    checkpoint = threading.Thread(target=store.checkpoint)
    found: list[int] = []
    start = time.perf_counter()
    checkpoint.start()
    while checkpoint.is_alive():
        found.append(_commit(store, _COMMITS_MIN + len(found)))
    checkpoint.join()
    return found, time.perf_counter() - start
