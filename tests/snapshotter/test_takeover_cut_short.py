"""Taking a root over and giving it back, cut short at any call: the same command again ends it."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from snapshotter.metadata_db import containerds_metadata, plain
from support.syscalls import Raising, copies_at_each_change, watched

from eventstore import EventStoreError
from projections.snapshots import FailedPreconditionError, MetaStore
from projections.snapshots.boltfile import BoltFile
from projections.snapshots.boltwriter import bolt_file
from projections.snapshots.containerd_db import read_snapshots
from snapledger.snapshotter import alone as alone_module
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.place import PlaceError
from snapledger.snapshotter.renaming import rename_snapshotter
from snapledger.snapshotter.serving import opened
from snapledger.snapshotter.takeover import Moved, give_back, take_over

if TYPE_CHECKING:
    from collections.abc import Callable

DATABASE = Path(__file__).parent.parent / "data/containerd/containerd-overlayfs-metadata.db"
CONTENT = read_snapshots(DATABASE.read_bytes())
IDS = {str(snapshot.id) for snapshot in CONTENT.snapshots}


@pytest.fixture
def place(memory_place: Path) -> Path:
    """A directory in memory."""
    return memory_place


@pytest.fixture
def no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is taken: a copy of what is there would open the files, and wait."""
    monkeypatch.setattr(alone_module, "_leased", lambda *_: False)


def containerds_root(place: Path) -> Path:
    root = place / "root"
    shutil.rmtree(root, ignore_errors=True)
    for each in IDS:
        (root / "snapshots" / each / "fs").mkdir(parents=True)
    shutil.copy(DATABASE, root / "metadata.db")
    return root


def our_root(place: Path) -> Path:
    root = containerds_root(place)
    take_over(str(root))
    return root


def require_ours(root: Path) -> None:
    """Check that a root is ours, whole, and that nothing else lies about."""
    with MetaStore.open(root / "metadata", create=False) as store, store.transaction() as now:
        assert {*now.id_map()} == IDS
    [kept] = root.glob("metadata.db.taken-over-*")
    assert kept.read_bytes() == DATABASE.read_bytes()
    assert (root / "strategy").read_text() == "overlay\n"
    names = {"metadata", "snapshots", "snapshotter.lock", "strategy", kept.name}
    assert {*os.listdir(root)} == names
    assert {*os.listdir(root / "snapshots")} == IDS


def require_containerds(root: Path) -> None:
    """Check that a root is containerd's, whole, with what was before beside it."""
    assert read_snapshots((root / "metadata.db").read_bytes()) == CONTENT
    [old] = root.glob("metadata.db.taken-over-*")
    [kept] = root.glob("metadata.given-back-*")
    with MetaStore.open(kept, create=False) as store, store.transaction() as now:
        assert {*now.id_map()} == IDS
    names = {"metadata.db", "snapshots", "snapshotter.lock", "strategy", old.name, kept.name}
    assert {*os.listdir(root)} == names
    assert {*os.listdir(root / "snapshots")} == IDS


def is_store(path: Path) -> bool:
    with contextlib.suppress(EventStoreError), MetaStore.open(path, create=False):
        return True
    return False


COMMANDS = pytest.mark.parametrize(
    ("command", "start", "require"),
    [(take_over, containerds_root, require_ours), (give_back, our_root, require_containerds)],
)


@COMMANDS
def test_what_was_killed_anywhere_is_ended_by_the_same_command(
    command: Callable[[str], Moved | None],
    start: Callable[[Path], Path],
    require: Callable[[Path], None],
    place: Path,
    no_leases: None,
) -> None:
    root, copies = start(place), place / "copies"
    copies.mkdir()
    kills = 0
    for killed in copies_at_each_change(lambda: command(str(root)), root, copies):
        command(str(killed))
        require(killed)
        assert command(str(killed)) is None
        kills += 1
    assert kills > 8


@pytest.mark.filterwarnings("ignore:.*dropped without a close:ResourceWarning")
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, partial(OSError, errno.EIO, "broken")], ids=["interrupt", "error"]
)
@COMMANDS
def test_what_an_error_has_stopped_anywhere_is_ended_by_the_same_command(
    command: Callable[[str], Moved | None],
    start: Callable[[Path], Path],
    require: Callable[[Path], None],
    error: Callable[[], BaseException],
    place: Path,
    deep: bool,
) -> None:
    at, stops, was_reached = 1, 0, True
    while was_reached:
        root, raising = start(place), Raising(error(), at)
        try:
            with watched(raising):
                command(str(root))
        except (KeyboardInterrupt, OSError, PlaceError, EventStoreError):
            stops += 1
            command(str(root))
        require(root)
        was_reached = raising.was_reached
        at += 1 if deep else 3
    assert stops > 5
    gc.collect()  # a store whose close was interrupted is told of here


def meta_database(place: Path) -> Path:
    database = place / "bolt/meta.db"
    shutil.rmtree(database.parent, ignore_errors=True)
    database.parent.mkdir()
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    return database


def require_renamed(database: Path) -> None:
    """Check that the name is another, and that the old file and nothing else is beside it."""
    expected = bolt_file(containerds_metadata(b"ledger"))
    assert plain(BoltFile(database.read_bytes()).root) == plain(BoltFile(expected).root)
    [kept] = database.parent.glob("meta.db.before-renaming-*")
    assert kept.read_bytes() == bolt_file(containerds_metadata(b"overlayfs"))
    assert {*os.listdir(database.parent)} == {"meta.db", kept.name}


def test_a_renaming_that_was_killed_anywhere_is_ended_by_the_same_command(
    place: Path, no_leases: None
) -> None:
    database, copies = meta_database(place), place / "copies"
    copies.mkdir()
    kills = 0
    for killed in copies_at_each_change(
        lambda: rename_snapshotter(str(database), "overlayfs", "ledger"), database.parent, copies
    ):
        for _ in range(2):
            done = rename_snapshotter(str(killed / "meta.db"), "overlayfs", "ledger")
            assert done.places == 5
            require_renamed(killed / "meta.db")
        kills += 1
    assert kills > 8


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, partial(OSError, errno.EIO, "broken")], ids=["interrupt", "error"]
)
def test_a_renaming_that_an_error_has_stopped_anywhere_is_ended_by_the_same_command(
    error: Callable[[], BaseException], place: Path
) -> None:
    at, was_reached = 1, True
    while was_reached:
        database, raising = meta_database(place), Raising(error(), at)
        with contextlib.suppress(KeyboardInterrupt, OSError), watched(raising):
            rename_snapshotter(str(database), "overlayfs", "ledger")
        rename_snapshotter(str(database), "overlayfs", "ledger")
        require_renamed(database)
        was_reached = raising.was_reached
        at += 1
    assert at > 10


def test_a_take_over_that_was_killed_anywhere_is_given_back_or_given_back_says_what_to_do(
    place: Path,
    no_leases: None,
) -> None:
    root, copies = containerds_root(place), place / "copies"
    copies.mkdir()
    refused = given = 0
    said = r"remove .*, or call take-over again"
    for killed in copies_at_each_change(lambda: take_over(str(root)), root, copies):
        if (killed / "metadata").is_dir() and not is_store(killed / "metadata"):
            with pytest.raises(FailedPreconditionError, match=said):
                give_back(str(killed))
            with pytest.raises(PlaceError, match="take-over"):
                opened(str(killed), "overlay", Options()).__enter__()
            refused += 1
        else:
            given += give_back(str(killed)) is not None
            assert read_snapshots((killed / "metadata.db").read_bytes()) == CONTENT
        taken = take_over(str(killed))
        assert taken is not None
        assert taken.snapshot_count == len(IDS)
    assert refused > 10
    assert given > 0
