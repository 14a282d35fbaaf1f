"""Walks of a store of 100,000: all of it, and what an equality filter selects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from tools.bench.child import left_open
from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.sections.prepared import QUIET
from tools.bench.workload import GROUP_LABEL, REF_LABEL, labels_of

if TYPE_CHECKING:
    from tools.bench.context import Bench
    from tools.bench.results import Figures

_TIMES = 5
_MANY = 6
"""The group of one row in 64."""


def run(bench: Bench) -> Section:
    """Let the sources take turns."""
    section = Section()
    count = bench.sizes.middle
    for _ in range(bench.sizes.rounds):
        for source in bench.sources:
            path = str(bench.prepared(source, count)[0])
            section.add(source.name, measured(source, walked, path=path, count=count))
    bench.compare_sources(section)
    return section


def walked(path: str, count: int) -> Figures:
    """Walk a reopened store: the first time and again, and by filters that hit one row and many."""
    store = MetaStore.open(path, options=QUIET)
    left_open(store)
    number = count // 2 + 1
    one = f'labels."{REF_LABEL}"=={labels_of(number)[REF_LABEL]}'
    many = f'labels."{GROUP_LABEL}"==group-{_MANY}'
    first_filter, _ = _walk(store, one)
    one_s = min(_walk(store, one)[0] for _ in range(_TIMES))
    _walk(store, many)
    many_s, hits = min(_walk(store, many) for _ in range(_TIMES))
    first_all, rows = _walk(store)
    all_s = min(_walk(store)[0] for _ in range(_TIMES))
    return {
        "first_walk_us_each": first_all / rows * 1e6,
        "walk_us_each": all_s / rows * 1e6,
        "first_filter_ms": first_filter * 1e3,
        "filter_one_hit_ms": one_s * 1e3,
        "filter_many_hits_ms": many_s * 1e3,
        "filter_hit_count": hits,
        "filter_us_a_hit": max(many_s - one_s, 0) / max(hits - 1, 1) * 1e6,
    }


def _walk(store: MetaStore, *filters: str) -> tuple[float, int]:
    """Return the CPU seconds of a walk, and how many it found."""
    with store.transaction() as transaction:
        start = time.thread_time()
        found = sum(1 for _ in transaction.walk_info(*filters))
        return time.thread_time() - start, found
