"""Whether a create stays as it was when the store grows: large against small, live and reopened."""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

from tools.bench.results import Section

if TYPE_CHECKING:
    from tools.bench.children import Participant
    from tools.bench.context import Bench


def run(bench: Bench) -> Section:
    """Let the four stores of each source take turns."""
    section = Section()
    sizes = bench.sizes
    for source in bench.sources:
        with contextlib.ExitStack() as open_stores:
            stores: dict[str, Participant] = {}
            for size, count in (("small", sizes.small), ("large", sizes.snapshots)):
                live = bench.store(source, fill=count)
                stores[f"{size}_live"] = open_stores.enter_context(live)
                reopened = bench.store(source, path=str(bench.copy(source, count)))
                stores[f"{size}_reopened"] = open_stores.enter_context(reopened)
            for turn in range(sizes.rounds + 1):
                for name, store in stores.items():
                    took = store.creates(1, sizes.turn_s)
                    if turn:  # the first round warms up
                        figures = {
                            f"{name}_us": statistics.median(took["ns"]) / 1e3,
                            f"{name}_cpu_us": took["cpu_ns"] / len(took["ns"]) / 1e3,
                        }
                        section.add(source.name, figures)
        for state in ("live_us", "reopened_us", "live_cpu_us", "reopened_cpu_us"):
            section.compare((source.name, f"large_{state}"), (source.name, f"small_{state}"))
    return section
