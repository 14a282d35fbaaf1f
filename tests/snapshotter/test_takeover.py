"""Roots and names are taken over from containerd and given back, also where that was cut short."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from snapshotter.metadata_db import containerds_metadata, plain

from projections.snapshots import FailedPreconditionError, InvalidArgumentError, MetaStore
from projections.snapshots.boltfile import BoltFile
from projections.snapshots.boltwriter import NewBucket, bolt_file
from projections.snapshots.containerd_db import read_snapshots
from projections.snapshots.importer import import_containerd
from snapledger.snapshotter.place import PlaceError
from snapledger.snapshotter.program import group
from snapledger.snapshotter.renaming import rename_snapshotter
from snapledger.snapshotter.takeover import Moved, give_back, take_over

DATABASE = Path(__file__).parent.parent / "data/containerd/containerd-overlayfs-metadata.db"
CONTENT = read_snapshots(DATABASE.read_bytes())


def taken_over(root: Path) -> Moved:
    """Take a root over that is not ours yet."""
    moved = take_over(str(root))
    assert moved is not None
    return moved


def given_back(root: Path) -> Moved:
    """Give a root back that is not containerd's yet."""
    moved = give_back(str(root))
    assert moved is not None
    return moved


@pytest.fixture
def root(place: Path) -> Path:
    """A root of containerd's overlay snapshotter."""
    root = place / "root"
    (root / "snapshots").mkdir(parents=True)
    shutil.copy(DATABASE, root / "metadata.db")
    for snapshot in CONTENT.snapshots:
        (root / "snapshots" / str(snapshot.id) / "fs").mkdir(parents=True)
    return root


def test_a_root_is_taken_over_and_given_back(root: Path) -> None:
    taken = taken_over(root)
    assert taken.snapshot_count == len(CONTENT.snapshots)
    assert Path(taken.kept).read_bytes() == DATABASE.read_bytes()
    assert not (root / "metadata.db").exists()
    with MetaStore.open(root / "metadata") as store, store.transaction() as now:
        assert len(now.id_map()) == taken.snapshot_count
    given = given_back(root)
    assert read_snapshots((root / "metadata.db").read_bytes()) == CONTENT
    assert os.listdir(given.kept)
    assert taken_over(root).snapshot_count == taken.snapshot_count


def test_taking_over_goes_on_where_it_was_cut_short(root: Path) -> None:
    import_containerd(root / "metadata.db", root / "metadata")
    assert taken_over(root).snapshot_count == len(CONTENT.snapshots)
    assert not (root / "metadata.db").exists()


def test_giving_back_goes_on_where_it_was_cut_short(root: Path) -> None:
    take_over(str(root))
    kept = Path(given_back(root).kept)
    kept.rename(root / "metadata")
    assert Path(given_back(root).kept) == kept


def test_a_root_goes_to_and_fro_with_nothing_done_between(root: Path) -> None:
    kept = set()
    for _ in range(3):
        taken_over(root)
        kept.add(given_back(root).kept)
    assert len(kept) == 3
    for each in kept:
        with MetaStore.open(each, create=False) as store, store.transaction() as now:
            assert len(now.id_map()) == len(CONTENT.snapshots)
    assert not (root / "metadata").exists()
    assert read_snapshots((root / "metadata.db").read_bytes()) == CONTENT


def test_what_is_done_already_is_said_and_not_done_again(root: Path) -> None:
    for command, whose in (("take-over", "ours"), ("give-back", "containerd's")):
        assert CliRunner().invoke(group, [command, "--root", str(root)]).exit_code == 0
        before = {*os.listdir(root)}
        done = CliRunner().invoke(group, [command, "--root", str(root)])
        assert done.exit_code == 0
        assert done.output == f"{root} is {whose} already; nothing was done\n"
        assert {*os.listdir(root)} == before


def test_two_states_are_refused_either_way(root: Path) -> None:
    with MetaStore.open(root / "metadata"):
        pass
    said = re.escape(f"they don't say the same: move {root}/metadata away")
    with pytest.raises(FailedPreconditionError, match=said):
        take_over(str(root))
    with pytest.raises(FailedPreconditionError, match=said):
        give_back(str(root))
    assert (root / "metadata.db").read_bytes() == DATABASE.read_bytes()


def test_nothing_is_taken_over_while_containerd_has_it(root: Path) -> None:
    with (root / "metadata.db").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FailedPreconditionError, match="stop containerd"):
            take_over(str(root))
    assert not (root / "metadata").exists()
    (root / "metadata.db").unlink()
    with pytest.raises(PlaceError, match="nothing to take over"):
        take_over(str(root))


def test_a_snapshotter_is_renamed_where_it_is_meant_and_nowhere_else(place: Path) -> None:
    database = place / "meta.db"
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    before = database.read_bytes()
    renamed = rename_snapshotter(str(database), "overlayfs", "ledger")
    assert renamed.places == 5
    expected = bolt_file(containerds_metadata(b"ledger"))
    assert plain(BoltFile(database.read_bytes()).root) == plain(BoltFile(expected).root)
    assert Path(renamed.kept).read_bytes() == before
    rename_snapshotter(str(database), "ledger", "overlayfs")
    assert plain(BoltFile(database.read_bytes()).root) == plain(BoltFile(before).root)


@pytest.mark.parametrize("name", ["", "a b/c", "-ledger", "ledger.", "x" * 77, "l\u00e4", "a\n"])
def test_what_containerd_takes_for_no_name_is_refused(place: Path, name: str) -> None:
    database = place / "meta.db"
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    before = database.read_bytes()
    with pytest.raises(InvalidArgumentError, match="can't be called"):
        rename_snapshotter(str(database), "overlayfs", name)
    assert database.read_bytes() == before
    assert os.listdir(place) == ["meta.db"]


def test_a_name_in_use_is_refused(place: Path) -> None:
    database = place / "meta.db"
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    before = database.read_bytes()
    with pytest.raises(InvalidArgumentError, match="native is in use"):
        rename_snapshotter(str(database), "overlayfs", "native")
    assert database.read_bytes() == before
    assert os.listdir(place) == ["meta.db"]


def test_a_name_that_is_not_there_is_refused_and_told_which_are(place: Path) -> None:
    database = place / "meta.db"
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    before = database.read_bytes()
    done = CliRunner().invoke(group, rename(database, "overlays", "ledger"))
    assert isinstance(done.exception, InvalidArgumentError)
    assert str(done.exception) == (
        f"{database}: no snapshotter is called overlays there, but native, overlayfs; "
        "it is as it was"
    )
    assert done.output == ""
    assert database.read_bytes() == before
    assert os.listdir(place) == ["meta.db"]


def test_metadata_without_any_snapshotter_says_so(place: Path) -> None:
    database = place / "meta.db"
    database.write_bytes(bolt_file(NewBucket({b"v1": NewBucket({b"version": b"\x03"})})))
    with pytest.raises(
        InvalidArgumentError, match="no snapshotter is called a there, nor is any other"
    ):
        rename_snapshotter(str(database), "a", "b")


def test_the_same_name_again_is_a_wrong_command_line(place: Path) -> None:
    database = place / "meta.db"
    database.write_bytes(bolt_file(containerds_metadata(b"overlayfs")))
    done = CliRunner().invoke(group, rename(database, "overlayfs", "overlayfs"))
    assert done.exit_code == 2
    assert "'--to': overlayfs is its name already" in done.stderr
    assert os.listdir(place) == ["meta.db"]


def rename(database: Path, old: str, new: str) -> list[str]:
    return ["rename-snapshotter", "--database", str(database), "--from", old, "--to", new]
