"""The benchmark runs and measures all that it is for; how much is not tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools import bench

if TYPE_CHECKING:
    from pathlib import Path


def test_every_figure_is_measured(tmp_path: Path) -> None:
    figures = {
        **bench.bench_commit(tmp_path, 50),
        **bench.bench_threads(tmp_path, 32),
        **bench.bench_reads(tmp_path, 1000),
        **bench.bench_size(tmp_path, 2200),
    }
    assert figures.keys() >= {
        "create_to_floor",
        "ratio_16_to_1",
        "read_get_info_us",
        "open_s",
        "live_bytes_each",
        "opened_bytes_each",
    }
    assert all(value > 0 for name, value in figures.items() if not name.endswith("bytes_each"))
