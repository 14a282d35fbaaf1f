"""A store that several sections need: filled, its checkpoint written, and closed."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from eventstore import StoreOptions
from projections.snapshots import MetaStore
from tools.bench.workload import fill

if TYPE_CHECKING:
    from tools.bench.results import Figures

QUIET = StoreOptions(background=False)
"""For what must not meet a checkpoint that it didn't ask for."""


def filled(path: str, count: int) -> Figures:
    """Fill a new store with snapshots; say what that takes and leaves in memory."""
    store = MetaStore.open(path, options=QUIET)
    before, start = resident_bytes(), time.process_time()
    fill(store, count)
    figures = {
        "fill_cpu_us_each": (time.process_time() - start) / count * 1e6,
        "live_bytes_each": (resident_bytes() - before) / count,
    }
    start = time.perf_counter()
    store.checkpoint()
    figures["first_checkpoint_s"] = time.perf_counter() - start
    store.close()
    return figures


def resident_bytes() -> int:
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")
