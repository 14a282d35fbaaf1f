"""A start brings the directories in line with the metadata."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

from eventstore import StoreFailedError, WriteTransaction
from projections.snapshots import Kind, MetaStore
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.serving import opened
from snapledger.snapshotter.settling import Settled

if TYPE_CHECKING:
    from pathlib import Path


def settled(root: Path, strategy: str = "overlay") -> Settled:
    """Start and stop a driver; return what the start has done."""
    with opened(str(root), strategy, Options()) as driver:
        return driver.settled


def names(root: Path) -> set[str]:
    return {path.name for path in (root / "snapshots").iterdir()}


class Crash(BaseException):
    """The driver stops here."""


def test_a_crash_before_the_rename_is_made_good(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / "root"

    def crash(*_: object) -> None:
        raise Crash

    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        monkeypatch.setattr(snapshotter._directories, "settle", crash)
        with pytest.raises(Crash):
            snapshotter.create(Kind.ACTIVE, "default/1/a", "", {})
        monkeypatch.undo()
        [stage] = names(root)
        snapshotter.cleanup()
        assert names(root) == {stage}, "what has a snapshot is no leftover"
    assert settled(root).renamed == ("1",)
    assert names(root) == {"1"}
    assert (root / "snapshots/1/work").is_dir()
    assert settled(root) == Settled()


def test_a_commit_of_unknown_fate_keeps_its_directory_for_the_next_start(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / "root"

    def failed(self: WriteTransaction) -> NoReturn:
        commit(self)
        raise StoreFailedError("the answer of the disk was lost")

    commit = WriteTransaction.commit
    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        with monkeypatch.context() as patched:
            patched.setattr(WriteTransaction, "commit", failed)
            with pytest.raises(StoreFailedError):
                snapshotter.create(Kind.ACTIVE, "a", "", {})
        snapshotter.cleanup()
        [stage] = names(root)
        assert stage.startswith("new-")
    assert settled(root).renamed == ("1",)


def test_a_lost_rename_is_made_good_under_a_name_that_was_committed_since(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        snapshotter.commit("a", "base", {})
        [created] = [e for e in snapshotter.store.history("base") if e.event.data.get("kind")]
    os.rename(root / "snapshots/1", root / "snapshots" / str(created.metadata.request_id))
    assert settled(root).renamed == ("1",)
    assert names(root) == {"1"}


def test_a_crash_before_the_commit_leaves_a_stage_that_is_removed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / "root"

    def crash(*_: object, **__: object) -> None:
        raise Crash

    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        with monkeypatch.context() as patched:
            patched.setattr(snapshotter.store, "transaction", crash)
            with pytest.raises(Crash):
                snapshotter.create(Kind.ACTIVE, "a", "", {})
        [stage] = names(root)
    assert settled(root).removed == (stage,)
    assert names(root) == set()


def test_what_was_removed_is_removed_again_and_what_is_unknown_left(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options(remove_asynchronously=True)) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        snapshotter.create(Kind.ACTIVE, "b", "", {})
        snapshotter.remove("a")
    for name in ("3", "7", "rm-3", "notes"):
        (root / "snapshots" / name).mkdir()
    done = settled(root)
    assert (set(done.removed), done.missing) == ({"1", "rm-3"}, ())
    assert set(done.unknown) == {"3", "7", "notes"}
    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        [mount] = snapshotter.create(Kind.ACTIVE, "c", "", {})
        snapshotter.cleanup()
    assert mount.source == f"{root}/snapshots/8/fs"
    assert names(root) == {"2", "3", "7", "8", "notes"}


def test_the_log_of_a_start_says_who_removed_what(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options(remove_asynchronously=True)) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "default/4/a", "", {})
        snapshotter.remove("default/4/a")
    with caplog.at_level("INFO", "snapledger.snapshotter.leftovers"):
        assert settled(root).removed == ("1",)
    [record] = caplog.records
    assert vars(record)["why"].startswith(
        "default/4/a was removed at revision 2 by containerd/default: remove a"
    )


def test_a_missing_directory_is_reported(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
    os.rename(root / "snapshots/1", place / "elsewhere")
    assert settled(root).missing == ("1",)


def test_many_missing_directories_are_reported_without_reading_the_history_of_each(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / "root"
    with opened(str(root), "overlay", Options()) as (snapshotter, _):
        for number in range(20):
            snapshotter.create(Kind.ACTIVE, f"{number}", "", {})
    os.rename(root / "snapshots", place / "elsewhere")
    monkeypatch.setattr(MetaStore, "history", None)
    assert len(settled(root).missing) == 20


def test_a_native_view_of_a_parent_needs_no_directory(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "native", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        snapshotter.commit("a", "base", {})
        snapshotter.create(Kind.VIEW, "v", "base", {})
    os.rmdir(root / "snapshots/2")
    assert settled(root, "native") == Settled()


def test_a_native_view_that_a_crash_kept_from_its_name_gets_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = place / "root"

    def crash(*_: object) -> None:
        raise Crash

    with opened(str(root), "native", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        snapshotter.commit("a", "base", {})
        monkeypatch.setattr(snapshotter._directories, "settle", crash)
        with pytest.raises(Crash):
            snapshotter.create(Kind.VIEW, "v", "base", {})
        monkeypatch.undo()
    assert settled(root, "native") == Settled(renamed=("2",))
    assert names(root) == {"1", "2"}


def test_native_snapshots_are_copies(place: Path) -> None:
    root = place / "root"
    with opened(str(root), "native", Options()) as (snapshotter, _):
        snapshotter.create(Kind.ACTIVE, "a", "", {})
        (root / "snapshots/1/file").write_text("1")
        os.symlink("file", root / "snapshots/1/link")
        snapshotter.commit("a", "base", {})
        [mount] = snapshotter.create(Kind.ACTIVE, "b", "base", {})
        (root / "snapshots/2/file").write_text("2")
    assert mount == ("bind", str(root / "snapshots/2"), ("rbind", "rw"))
    assert (root / "snapshots/1/file").read_text() == "1"
    assert os.readlink(root / "snapshots/2/link") == "file"
