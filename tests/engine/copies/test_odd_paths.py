"""Odd paths of backups and of stores to be made are refused in the library's own words."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from support.engine import SMALL, add, open_store
from support.ledger import Ledger, Totals

from eventstore import (
    BackupError,
    EventStore,
    StoreExistsError,
    load_store,
    repair_store,
    restore_store,
    verify_backup,
    verify_store,
)

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = (Ledger(), Totals())
LONG = "x" * 300


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory with a store, a backup of it and a link that leads to itself."""
    with open_store(tmp_path / "store") as store:
        add(store, 1)
        store.backup(tmp_path / "backup")
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("loop/x", "symbolic link"),
        (LONG, "too long"),
        (f"{LONG}/x", "too long"),
        ("file/x", "no directory"),
        ("/proc/x", "No such file"),
    ],
)
def test_an_odd_path_of_a_backup_is_refused_as_one(directory: Path, name: str, says: str) -> None:
    place = directory / name
    with open_store(directory / "store") as store, pytest.raises(BackupError, match=says) as caught:
        store.backup(place)
    assert str(caught.value).startswith(f"{place}: ")
    assert "give another place" in str(caught.value)
    for read in (lambda: verify_backup(place), lambda: restore_store(place, "/nowhere", LEDGER)):
        with pytest.raises(BackupError):
            read()


def test_a_link_in_a_circle_is_no_backup(directory: Path) -> None:
    with pytest.raises(BackupError, match="loop: can't be used for a backup"):
        verify_backup(directory / "loop")
    os.unlink(directory / "backup" / "MANIFEST")
    os.symlink("MANIFEST", directory / "backup" / "MANIFEST")
    with pytest.raises(BackupError, match="MANIFEST"):
        verify_backup(directory / "backup")


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800"])
def test_a_path_that_is_none_is_told_as_that_of_a_backup(directory: Path, path: str) -> None:
    with open_store(directory / "store") as store:
        with pytest.raises(ValueError, match="the path of the backup"):
            store.backup(path)
        with pytest.raises(ValueError, match="the path of the store"):
            restore_store(directory / "backup", path, LEDGER)
    with pytest.raises(ValueError, match="the path of the backup"):
        verify_backup(path)


def test_no_store_is_made_in_a_backup_or_in_another_store(directory: Path) -> None:
    with open_store(directory / "store") as store:
        dumped = b"".join(store.dump())
    before = sorted(map(str, directory.rglob("*")))
    for inner in ("backup/inner", "backup/a/b"):
        with pytest.raises(BackupError, match=r"can't be in a backup, which is at .*: give"):
            load_store(io.BytesIO(dumped), directory / inner, LEDGER, options=SMALL)
        with pytest.raises(BackupError, match="can't be in the backup"):
            restore_store(directory / "backup", directory / inner, LEDGER, options=SMALL)
    for inner in ("store/inner", "store/wal/a"):
        with pytest.raises(StoreExistsError, match=r"can't be in another one, which is"):
            load_store(io.BytesIO(dumped), directory / inner, LEDGER, options=SMALL)
    assert sorted(map(str, directory.rglob("*"))) == before
    (directory / "link").symlink_to(directory / "backup")
    with pytest.raises(BackupError, match="can't be in a backup"):
        load_store(io.BytesIO(dumped), directory / "link" / "inner", LEDGER, options=SMALL)
    load_store(io.BytesIO(dumped), directory / "new", LEDGER, options=SMALL)


def test_a_url_is_no_path_of_a_store_and_nothing_is_made(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    before = sorted(directory.rglob("*"))
    url = "https://example.org/store"
    for make in (
        lambda: EventStore.open(url, LEDGER),
        lambda: EventStore.open(url, LEDGER, read_only=True),
        lambda: restore_store("backup", url, LEDGER),
        lambda: load_store(io.BytesIO(), url, LEDGER),
        lambda: repair_store("store", url, LEDGER),
        lambda: verify_store(url, LEDGER),
    ):
        with pytest.raises(ValueError, match="the path of the store is a URL"):
            make()
    assert sorted(directory.rglob("*")) == before
