"""The space that is prepared ahead, on a medium that is full when it is told to be."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from engine_support import HookedFileSystem, add, balance, open_store
from ledger import close_account, open_account

from eventstore import StorageFullError

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore import EventStore


class _Full:
    """A medium without space for new files, but for one where a spare segment has been removed."""

    def __init__(self) -> None:
        self.is_full = False
        self.given_up = 0
        self._room = 0

    def __call__(self, call: str, path: str) -> None:
        if not self.is_full:
            return
        if call == "remove" and "spare" in path and self._room == 0:
            self.given_up += 1
            self._room = 1
        is_new = "spare" in path if call == "create" else call == "write" and ".ckpt" in path
        if is_new:
            self._room -= 1
            if self._room < 0:
                self._room = 0
                raise OSError(errno.ENOSPC, "no space", path)


def _fill_until_ready(store: EventStore, accounts: int = 1) -> None:
    """Open some accounts, and commit until space has been prepared."""
    with store.transaction(writable=True) as tx:
        for number in range(accounts):
            open_account(tx, f"open-{number}")
    while not store.stats()["spare_ready"]:
        add(store)


def test_a_checkpoint_in_the_space_of_a_spare_holds_every_row(tmp_path: Path) -> None:
    full = _Full()
    with open_store(tmp_path / "store", file_system=HookedFileSystem(full)) as store:
        _fill_until_ready(store)
        full.is_full = True
        store.checkpoint()
        assert full.given_up == 1
        expected = balance(store)
        assert store.verify().problems == ()
    with open_store(tmp_path / "store") as store:
        assert store.recovery.checkpoint_revision == store.recovery.revision
        assert balance(store) == expected


def test_a_full_disk_refuses_new_rows_while_removals_and_a_checkpoint_still_find_space(
    tmp_path: Path,
) -> None:
    full = _Full()
    with open_store(tmp_path / "store", file_system=HookedFileSystem(full)) as store:
        _fill_until_ready(store, accounts=3)
        full.is_full = True
        with pytest.raises(StorageFullError):
            add(store, 10_000)
        for number in range(3):
            with store.transaction(writable=True) as tx:
                close_account(tx, f"open-{number}")
        store.checkpoint()
        assert full.given_up == 1
        with pytest.raises(StorageFullError):
            add(store, 10_000)
        full.is_full = False
        add(store, 100)
        assert store.verify().problems == ()


def test_removals_may_use_up_the_last_prepared_segment(tmp_path: Path) -> None:
    full = _Full()
    with open_store(tmp_path / "store", file_system=HookedFileSystem(full)) as store:
        _fill_until_ready(store, accounts=40)
        full.is_full = True
        with pytest.raises(StorageFullError):
            add(store, 10_000)
        segments_before = store.stats()["segment_count"]
        for number in range(40):
            with store.transaction(writable=True) as tx:
                close_account(tx, f"open-{number}")
        assert store.stats()["segment_count"] == segments_before + 1
