"""Directories that are made ahead: taken by Prepares, and gone with the driver."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from projections.snapshots import Kind
from snapledger.snapshotter.metadata import Options, Snapshotter
from snapledger.snapshotter.serving import opened
from snapledger.snapshotter.strategy import GID_MAPPING, UID_MAPPING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_full(snapshotter: Snapshotter) -> bool:
    return len(snapshotter.spares.names()) == 4


def test_a_prepare_takes_one_and_it_is_made_up_for(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options(spares=4)) as (snapshotter, _):
        wait_for(lambda: is_full(snapshotter))
        first = snapshotter.spares.names()
        for number in range(3):
            snapshotter.create(Kind.ACTIVE, f"k{number}", "", {})
        [created] = [e for e in snapshotter.store.history("k0") if e.event.data.get("kind")]
        assert created.metadata.request_id == first[0]
        wait_for(lambda: is_full(snapshotter))
        directory = root / "snapshots/1"
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in directory.iterdir()}
        assert modes == {"fs": 0o755, "work": 0o711}
        snapshotter.cleanup()
        assert is_full(snapshotter)
        assert set(os.listdir(root / "snapshots")) == {"1", "2", "3", *snapshotter.spares.names()}
    assert set(os.listdir(root / "snapshots")) == {"1", "2", "3"}


@needs_root
@pytest.mark.parametrize("kind", [Kind.ACTIVE, Kind.VIEW])
def test_what_is_not_plain_is_made_for_itself(place: Path, kind: Kind) -> None:
    labels = {UID_MAPPING: "0:1000:65536", GID_MAPPING: "0:2000:65536"}
    with opened(str(place / "root"), "overlay", Options(spares=4)) as (snapshotter, _):
        wait_for(lambda: is_full(snapshotter))
        snapshotter.create(kind, "k", "", labels if kind is Kind.ACTIVE else {})
        assert is_full(snapshotter)
        upper = place / "root/snapshots/1/fs"
        assert upper.stat().st_uid == (1000 if kind is Kind.ACTIVE else 0)
        assert (upper.parent / "work").exists() == (kind is Kind.ACTIVE)


def test_native_snapshots_without_a_parent_take_them_and_copies_do_not(place: Path) -> None:
    with opened(str(place / "root"), "native", Options(spares=4)) as (snapshotter, _):
        wait_for(lambda: is_full(snapshotter))
        ready = snapshotter.spares.names()
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        assert snapshotter.spares.names() == ready[1:]
        (place / "root/snapshots/1/file").write_text("x")
        snapshotter.commit("a", "base", {})
        snapshotter.create(Kind.ACTIVE, "b", "base", {})
        assert snapshotter.spares.names() == ready[1:]
        assert (place / "root/snapshots/2/file").read_text() == "x"


def test_a_disk_without_room_for_them_leaves_none_behind_and_prepares_say_why(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(str(place / "root"), "overlay", Options()) as (snapshotter, _):
        snapshotter.spares._count = 4

        def full(directory: str, *_: object) -> list[str]:
            made.append(directory)
            if len(made) % 3 == 0:
                raise OSError(28, "No space left on device")
            return [directory]

        made: list[str] = []
        monkeypatch.setattr(snapshotter._strategy, "fill", full)
        with pytest.raises(OSError, match="No space"):
            snapshotter.spares.fill()
        assert os.listdir(place / "root/snapshots") == []
        with snapshotter.spares.kept():
            wait_for(lambda: "no directories can be made ahead" in caplog.text)
    assert os.listdir(place / "root/snapshots") == []
