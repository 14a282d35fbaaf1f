"""The space that is prepared ahead, on a medium that is full when it is told to be."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import pytest
from kernel.mounts import loop_image
from support.engine import HookedFileSystem, add, balance, open_store
from support.ledger import close_account, open_account

from eventstore import StorageFullError, StoreFailedError
from eventstore.backend.file_log import FileLog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore import EventStore


class _Full:
    """A medium without space for new files, but for one where a spare segment has been removed."""

    def __init__(self) -> None:
        self.is_full = False
        self.given_up = 0
        self._room = 0
        self._has_room: set[str] = set()

    def __call__(self, call: str, path: str) -> None:
        if not self.is_full:
            return
        if call == "remove" and "spare" in path and self._room == 0:
            self.given_up += 1
            self._room = 1
        is_new = "spare" in path if call == "create" else call == "write" and ".ckpt" in path
        if is_new and path not in self._has_room:
            self._room -= 1
            if self._room < 0:
                self._room = 0
                raise OSError(errno.ENOSPC, "no space", path)
            self._has_room.add(path)
        if call in ("remove", "rename"):
            self._has_room.discard(path)


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
        for number in range(30):
            with store.transaction(writable=True) as tx:
                close_account(tx, f"open-{number}")
        assert store.stats()["segment_count"] == segments_before + 1


def test_a_name_that_needs_a_block_gets_it_from_the_room_that_is_kept(tmp_path: Path) -> None:
    given_up: list[str] = []

    def hook(call: str, path: str) -> None:
        if call == "remove":
            given_up.append(path)
        if call == "rename" and path.endswith(".log") and not given_up:
            raise OSError(errno.ENOSPC, "no space", path)

    file_system = HookedFileSystem()
    with open_store(tmp_path / "store", file_system=file_system) as store:
        _fill_until_ready(store)
        file_system.hook = hook
        before = store.stats()["segment_count"]
        while store.stats()["segment_count"] == before:
            add(store)
        assert len(given_up) == 1
        expected = balance(store)
    with open_store(tmp_path / "store") as store:
        assert balance(store) == expected


def test_a_name_that_finds_no_space_to_be_synced_fails_the_handle(tmp_path: Path) -> None:
    def hook(call: str, path: str) -> None:
        if call == "sync_directory" and path.endswith("wal"):
            raise OSError(errno.ENOSPC, "no space", path)

    file_system = HookedFileSystem()
    with open_store(tmp_path / "store", file_system=file_system) as store:
        _fill_until_ready(store)
        file_system.hook = hook
        with pytest.raises(StoreFailedError):
            add(store, 10_000)
        seen = balance(store)
    with open_store(tmp_path / "store") as store:
        assert balance(store) in (seen, seen + 1)


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_no_roll_on_a_full_disk_fails_the_handle(
    kind: str, tmp_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    """Whether the directory has room for one more name or not: it is passed many times."""
    rolls = 150 if deep else 30
    with loop_image(tmp_path, kind) as image:
        filler = image.mount_point / "filler"
        with open_store(image.mount_point / "store") as store, filler.open("ab", 0) as file:
            log = store._log
            assert isinstance(log, FileLog)
            for _ in range(rolls):
                log._spares.prepare()
                for size_bytes in (1 << 20, 4096, 1):
                    with contextlib.suppress(OSError):
                        while file.write(bytes(size_bytes)):
                            pass
                    os.fsync(file.fileno())
                with contextlib.suppress(StorageFullError):
                    add(store, 1, "n" * 2500)
                file.truncate(max(0, filler.stat().st_size - (1 << 19)))
                os.fsync(file.fileno())
            assert store.stats()["failed"] is None
            assert store.stats()["segment_count"] > rolls // 2
    record_proof(f"rolls on a full {kind}", rolls=rolls)
