"""What a failing medium does: nothing acknowledged is lost, nothing lost is acknowledged."""

from __future__ import annotations

import errno
import inspect
import re
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.engine import (
    SMALL,
    Failing,
    HookedFileSystem,
    add,
    balance,
    flip,
    open_store,
    segments,
)
from support.ledger import ACCOUNTS, Ledger, Totals, close_account, open_account

from eventstore import (
    CorruptionError,
    EventStore,
    EventStoreError,
    StorageFullError,
    StoreFailedError,
    StoreLockedError,
)
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def commit_until_it_fails(store: EventStore, count: int = 200) -> tuple[int, BaseException | None]:
    """Return how many batches were acknowledged, and what ended it."""
    for number in range(count):
        try:
            add(store, 1)
        except (EventStoreError, OSError) as error:
            return number, error
    return count, None


@pytest.mark.parametrize("calls", ["sync", "write", "rename", "sync_directory"])
def test_nth_failure_is_final_and_reopening_recovers(tmp_path: Path, calls: str) -> None:
    for after in [0, 1, 2, 7, 24, 25, 26, 27, 60]:
        path = tmp_path / f"{calls}-{after}"
        failing = Failing(errno.EIO, calls, "wal", after)
        store = open_store(path, file_system=HookedFileSystem(failing))
        add(store, 5)
        failing.armed = True
        acknowledged, error = commit_until_it_fails(store)
        if error is None:
            assert calls in ("rename", "sync_directory")
            store.close()
            continue
        assert isinstance(error, StoreFailedError)
        assert "Input/output error" in str(error)
        failing.armed = False
        for _ in range(2):  # also when the medium works again
            with pytest.raises(StoreFailedError):
                store.transaction(writable=True)
        assert balance(store) == 5 + acknowledged
        assert store.at(3).revision == 3
        assert len(list(store.batches())) == 5 + acknowledged
        assert "Input/output error" in store.stats()["failed"]
        store.close()
        with open_store(path) as store:
            assert balance(store) in (5 + acknowledged, 6 + acknowledged)
            assert store.verify().is_sound
            add(store, 30)


def test_segment_that_can_not_be_prepared_fails_the_handle(tmp_path: Path) -> None:
    failing = Failing(errno.EIO, "create", "spare")
    with open_store(tmp_path / "store", file_system=HookedFileSystem(failing)) as store:
        failing.armed = True
        acknowledged, error = commit_until_it_fails(store)
        assert acknowledged > 5
        assert isinstance(error, StoreFailedError)
        with pytest.raises(StoreFailedError):
            add(store, 1)
        assert balance(store) == acknowledged
    with open_store(tmp_path / "store") as store:
        assert balance(store) == acknowledged


def test_state_goes_back_to_what_is_durable(tmp_path: Path) -> None:
    failing = Failing(errno.EIO, "sync", ".log")
    with open_store(tmp_path / "store", file_system=HookedFileSystem(failing)) as store:
        add(store, 5)
        old_reader = store.transaction()
        failing.armed = True
        with pytest.raises(StoreFailedError):
            add(store, 1)
        for reader in (old_reader, store.transaction()):
            assert reader.revision == 5
            assert reader.get(ACCOUNTS, "a").balance == 5
            assert [account.balance for _, account in reader.items(ACCOUNTS)] == [5]


def test_everyone_who_waits_for_a_failed_sync_is_told(tmp_path: Path) -> None:
    failing = Failing(errno.EIO, "sync", ".log")

    def hook(call: str, path: str) -> None:
        if failing.armed and call == "sync":
            time.sleep(0.02)
        failing(call, path)

    results: list[object] = []
    with open_store(tmp_path / "store", file_system=HookedFileSystem(hook)) as store:
        add(store, 3)
        failing.armed = True

        def run() -> None:
            try:
                add(store, 1)
                results.append("acknowledged")
            except StoreFailedError as error:
                results.append(error)

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 6
        assert all(isinstance(result, StoreFailedError) for result in results)
        assert failing.failures == 1  # a sync is never tried again
        assert balance(store) == 3


def test_rollback_tells_that_what_was_read_did_not_become_durable(tmp_path: Path) -> None:
    failing = Failing(errno.EIO, "sync", ".log")
    in_sync, fail_now = threading.Event(), threading.Event()

    def hook(call: str, path: str) -> None:
        if failing.armed and call == "sync":
            in_sync.set()
            fail_now.wait(5)
        failing(call, path)

    with open_store(tmp_path / "store", file_system=HookedFileSystem(hook)) as store:
        add(store, 1)
        failing.armed = True
        thread = threading.Thread(target=commit_until_it_fails, args=(store,))
        thread.start()
        assert in_sync.wait(5)
        tx = store.transaction(writable=True)
        assert tx.get(ACCOUNTS, "a").balance == 2
        fail_now.set()
        with pytest.raises(StoreFailedError):
            tx.rollback()
        thread.join()
        assert balance(store) == 1


def test_closing_on_a_dead_medium_lets_go_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = open_store(tmp_path / "store")
    add(store, 3)
    with monkeypatch.context() as dead:
        dead.setattr("eventstore.files.handles.LocalSharedBlock.sync", fail)
        store.close()
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 3


def test_opening_on_a_failing_medium_lets_go_of_the_store(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
    failing = Failing(errno.EIO, "sync")
    failing.armed = True
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            open_store(tmp_path / "store", file_system=HookedFileSystem(failing))
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 3


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_full_disk_while_a_segment_is_prepared_leaves_a_usable_store(tmp_path: Path) -> None:
    full = Failing(errno.ENOSPC, "create write", ".tmp")
    path = tmp_path / "store"
    with open_store(path, file_system=HookedFileSystem(full)) as store:
        full.armed = True
        acknowledged, error = commit_until_it_fails(store)
        assert isinstance(error, StorageFullError)
        assert re.fullmatch(r"free at least \d{4,} bytes and try again", error.remedy)
        assert acknowledged > 5
        assert balance(store) == acknowledged
        for _ in range(3):
            with pytest.raises(StorageFullError):
                add(store, 1)
        assert "No space" in str(error.__cause__) or "no space" in str(error)
        assert balance(store) == acknowledged
        # Batches that remove rows may use what is left.
        with store.transaction(writable=True) as tx:
            close_account(tx, "a")
        full.armed = False
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
        add(store, 60)
        assert balance(store) == 60
        assert store.stats()["failed"] is None
    with open_store(path) as store:
        assert balance(store) == 60
        assert store.verify().is_sound


def test_failing_preparation_in_the_background_is_reported(tmp_path: Path) -> None:
    full = Failing(errno.ENOSPC, "create", "spare")
    with open_store(tmp_path / "store", file_system=HookedFileSystem(full)) as store:
        full.armed = True
        with pytest.raises(StorageFullError):
            add(store, 100)
        wait_for(lambda: store.stats()["prepare_error"])
        full.armed = False
        add(store, 100)
        wait_for(lambda: store.stats()["prepare_error"] is None)


def test_full_disk_at_a_checkpoint_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "store"
    full = Failing(errno.ENOSPC, "create write", ".ckpt")
    with open_store(path, file_system=HookedFileSystem(full)) as store:
        add(store, 5)
        full.armed = True
        with pytest.raises(StorageFullError, match="checkpoint") as told:
            store.checkpoint()
        room = r"(space|more than [1-9]\d* bytes)"
        assert re.fullmatch(rf"free {room} and try again", told.value.remedy)
        assert list((path / "checkpoints").iterdir()) == []
        add(store, 5)
        full.armed = False
        assert store.checkpoint() == 10


def test_full_disk_while_archiving_keeps_the_segment(tmp_path: Path) -> None:
    path = tmp_path / "store"
    full = Failing(errno.ENOSPC, "create write", ".gz")
    with open_store(path, file_system=HookedFileSystem(full)) as store:
        add(store, 60)
        store.compact()
        add(store, 1)
        before = segments(path)
        full.armed = True
        with pytest.raises(StorageFullError, match="archive") as told:
            store.compact()
        found = re.fullmatch(r"free (\d+) bytes, which it takes at most, .*", told.value.remedy)
        assert found is not None
        assert 2048 < int(found[1]) <= 4096
        assert segments(path) == before
        assert list((path / "archive").iterdir()) == []
        full.armed = False
        assert store.compact().archived > 0
        assert len(list(store.batches())) == 61


def test_failed_checkpoint_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store"
    for after in range(20):
        failing = Failing(errno.EIO, "create write sync rename sync_directory", "checkpoint", after)
        with open_store(path, file_system=HookedFileSystem(failing)) as store:
            add(store, 3)
            failing.armed = True
            try:
                store.checkpoint()
            except OSError:
                failing.armed = False
            else:
                break
            add(store, 2)
            assert store.checkpoint() == store.transaction().revision
        with open_store(path) as store:
            assert balance(store) == 5 * (after + 1)
    assert after > 3


def test_checkpoint_that_can_not_be_read_back_is_not_relied_on(tmp_path: Path) -> None:
    path = tmp_path / "store"

    def hook(call: str, file: str) -> None:
        if call == "sync" and file.endswith(".ckpt.tmp"):
            # The medium has lost a byte of what was written.
            flip(path / "checkpoints" / file.rsplit("/", 1)[1], 100)

    with open_store(path, file_system=HookedFileSystem(hook)) as store:
        add(store, 5)
        with pytest.raises(CorruptionError):
            store.checkpoint()
        assert list((path / "checkpoints").iterdir()) == []
    with open_store(path) as store:
        assert balance(store) == 5


def test_handle_that_failed_still_holds_the_lock_until_closed(tmp_path: Path) -> None:
    failing = Failing(errno.EIO, "sync", ".log")
    store = open_store(tmp_path / "store", file_system=HookedFileSystem(failing))
    add(store, 1)
    failing.armed = True
    with pytest.raises(StoreFailedError):
        add(store, 1)
    with pytest.raises(StoreLockedError):
        open_store(tmp_path / "store")
    store.close()
    open_store(tmp_path / "store").close()


def test_a_commit_that_finds_no_stack_left_loses_nothing_that_was_acknowledged() -> None:
    """It is called from as deep as it takes; the handle may fail, and then says so."""

    def call_at(depth: int, work: Callable[[], None]) -> None:
        if depth:
            call_at(depth - 1, work)
        else:
            work()

    def commit() -> None:
        add(store, 1)

    file_system = SimulatedFileSystem(keep_steps=False)

    def opened() -> EventStore:
        return EventStore.open(
            "/store", [Ledger(), Totals()], options=SMALL, file_system=file_system
        )

    here = len(inspect.stack(0))
    store = opened()
    add(store, 1)
    failures, acknowledged = 0, 1
    for left in range(60):
        try:
            call_at(sys.getrecursionlimit() - here - left, commit)
            acknowledged += 1
        except (RecursionError, StoreFailedError):
            pass
        if store.stats()["failed"] is not None:
            failures += 1
            with pytest.raises(StoreFailedError):
                add(store, 1)
            store.close()
            store = opened()
            assert balance(store) in (acknowledged, acknowledged + 1)
            acknowledged = balance(store)
        assert balance(store) == acknowledged
    store.check()
    store.close()
    assert failures
    assert acknowledged > 1


def test_a_handle_that_an_interrupt_without_a_text_has_failed_says_so(tmp_path: Path) -> None:
    hook = Failing(calls="sync")

    def interrupted(call: str, path: str) -> None:
        try:
            hook(call, path)
        except OSError:
            raise KeyboardInterrupt from None

    with open_store(tmp_path / "store", file_system=HookedFileSystem(interrupted)) as store:
        hook.armed = True
        with pytest.raises(KeyboardInterrupt):
            add(store)
        hook.armed = False
        assert store.stats()["failed"] == "KeyboardInterrupt"
        with pytest.raises(StoreFailedError, match=r"\(KeyboardInterrupt\)"):
            add(store)
