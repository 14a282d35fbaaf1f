"""A root is served with the strategy that it was made with, and with no other."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from projections.snapshots import Kind
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.place import PlaceError
from snapledger.snapshotter.program import group
from snapledger.snapshotter.serving import opened
from snapledger.snapshotter.takeover import give_back, take_over

if TYPE_CHECKING:
    from pathlib import Path

OTHER = {"overlay": "native", "native": "overlay"}
both = pytest.mark.parametrize("strategy", list(OTHER))


def made(place: Path, strategy: str, *, is_older: bool = False, count: int = 2) -> str:
    """Make a root; as an older version did, without a record."""
    root = place / "root"
    with opened(str(root), strategy, Options()) as (snapshotter, _):
        for number in range(count):
            [mount] = snapshotter.create(Kind.ACTIVE, f"{number}", "", {})
        if count:
            with open(f"{mount.source}/fs", "w", encoding="ascii"):  # a name that overlay has too
                pass
            snapshotter.commit("0", "base", {})
    assert (root / "strategy").read_text() == f"{strategy}\n"
    if is_older:
        (root / "strategy").unlink()
    return str(root)


@both
@pytest.mark.parametrize("is_older", [False, True], ids=["recorded", "older"])
def test_a_root_is_refused_to_another_strategy(place: Path, strategy: str, is_older: bool) -> None:
    root = made(place, strategy, is_older=is_older)
    with pytest.raises(PlaceError, match=f"^{root}: it is kept with {strategy}.*--strategy"):
        opened(root, OTHER[strategy], Options()).__enter__()
    with opened(root, strategy, Options()) as (snapshotter, _):
        snapshotter.create(Kind.VIEW, "v", "base", {})
    assert (place / "root/strategy").read_text() == f"{strategy}\n"


@both
def test_an_older_root_without_snapshots_takes_the_strategy_that_it_is_first_served_with(
    place: Path, strategy: str
) -> None:
    root = made(place, strategy, is_older=True, count=0)
    (place / "root/snapshots/7").mkdir()
    with opened(root, OTHER[strategy], Options()):
        pass
    with pytest.raises(PlaceError, match=f"kept with {OTHER[strategy]}"):
        opened(root, strategy, Options()).__enter__()


def test_an_older_root_of_both_is_refused_until_somebody_says_which(place: Path) -> None:
    root = made(place, "overlay", is_older=True)
    os.rename(f"{root}/snapshots/2/fs", f"{root}/snapshots/2/etc")
    for strategy in OTHER:
        with pytest.raises(PlaceError, match=f"native and overlay: write .* to {root}/strategy"):
            opened(root, strategy, Options()).__enter__()
    (place / "root/strategy").write_text("overlay\n")
    with opened(root, "overlay", Options()):
        pass


@pytest.mark.parametrize("content", ["", "overlay", "btrfs\n", "\0\n", "native\nnative\n"])
def test_a_record_that_says_nothing_known_is_refused_and_left(place: Path, content: str) -> None:
    root = made(place, "overlay")
    (place / "root/strategy").write_text(content)
    for strategy in OTHER:
        with pytest.raises(PlaceError, match=f"{root}/strategy: .*overlay, native"):
            opened(root, strategy, Options()).__enter__()
    assert (place / "root/strategy").read_text() == content


@pytest.mark.parametrize("is_older", [False, True], ids=["recorded", "older"])
def test_a_native_root_is_not_given_back(place: Path, is_older: bool) -> None:
    root = made(place, "native", is_older=is_older)
    done = CliRunner().invoke(group, ["give-back", "--root", root])
    assert isinstance(done.exception, PlaceError)
    assert "kept with native" in str(done.exception)
    assert sorted(os.listdir(f"{root}/snapshots")) == ["1", "2"]
    assert not os.path.lexists(f"{root}/metadata.db")
    with opened(root, "native", Options()) as (snapshotter, _):
        assert snapshotter.stat("base").kind is Kind.COMMITTED


def test_a_root_that_is_taken_over_is_overlays(place: Path) -> None:
    root = made(place, "overlay", is_older=True)
    give_back(root)
    (place / "root/strategy").unlink()
    take_over(root)
    assert (place / "root/strategy").read_text() == "overlay\n"
    with pytest.raises(PlaceError, match="kept with overlay"):
        opened(root, "native", Options()).__enter__()


@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_root_of_containerds_native_snapshotter_is_not_taken_over(
    place: Path, is_recorded: bool
) -> None:
    root = made(place, "overlay", is_older=True)
    give_back(root)
    (place / "root/strategy").unlink()
    if is_recorded:
        (place / "root/strategy").write_text("native\n")
    for directory in (place / "root/snapshots").iterdir():
        shutil.rmtree(directory)
        (directory / "bin").mkdir(parents=True)
    before = sorted(os.listdir(root))
    with pytest.raises(PlaceError, match="kept with native"):
        take_over(root)
    assert sorted(os.listdir(root)) == before


def test_the_record_is_durable_before_anything_is_served(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append(f"{path}: {sorted(os.listdir(path)) if os.path.isdir(path) else 'file'}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    root = str(place / "root")
    with opened(root, "native", Options()):
        written = synced.index(f"{root}/strategy.snapledger-new: file")
        assert any(
            each.startswith(f"{root}: ") and "'strategy'" in each for each in synced[written:]
        )
