"""Batches that are committed at once become durable by one sync."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from support.engine import HookedFileSystem, add, open_store
from support.ledger import balances, deposit, open_account

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from eventstore import EventStore, Receipt

THREADS = 8
BATCHES = 25


def commit_from_threads(store: EventStore, receipts: list[Receipt], errors: list[object]) -> None:
    """Commit from several threads, each into an account of its own."""

    def run(account: str) -> None:
        try:
            for _ in range(BATCHES):
                with store.transaction(writable=True) as tx:
                    deposit(tx, account, 1)
                assert tx.receipt is not None
                receipts.append(tx.receipt)
                # What was committed is what this thread sees from now on.
                with store.transaction() as reader:
                    assert reader.revision >= tx.receipt.revision
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"t{number}",)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_share_syncs_and_get_dense_revisions(tmp_path: Path) -> None:
    syncs = []

    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".log"):
            syncs.append(path)
            time.sleep(0.002)  # as long as a disk takes

    path = tmp_path / "store"
    with open_store(path, file_system=HookedFileSystem(hook)) as store:
        with store.transaction(writable=True) as tx:
            for number in range(THREADS):
                open_account(tx, f"t{number}")
        syncs.clear()
        receipts: list[Receipt] = []
        errors: list[object] = []
        commit_from_threads(store, receipts, errors)
        assert errors == []
        count = THREADS * BATCHES
        assert sorted(receipt.revision for receipt in receipts) == list(range(2, count + 2))
        assert len(syncs) < count / 2
        for receipt in receipts:
            store.check_receipt(receipt)
    with open_store(path) as store:
        assert balances(store.transaction()) == {f"t{n}": BATCHES for n in range(THREADS)}
        for receipt in receipts:
            store.check_receipt(receipt)
        assert store.verify().is_sound


def test_commit_returns_only_when_its_batch_is_durable(tmp_path: Path) -> None:
    durable: list[int] = []
    synced = threading.Event()
    let_sync = threading.Event()

    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".log") and durable:
            synced.set()
            let_sync.wait(5)

    with open_store(tmp_path / "store", file_system=HookedFileSystem(hook)) as store:
        add(store, 1)
        durable.append(1)
        returned = threading.Event()
        thread = threading.Thread(target=lambda: (add(store, 1), returned.set()))
        thread.start()
        assert synced.wait(5)
        assert not returned.is_set()
        assert store.transaction().revision == 1
        # A reader of the undurable batch, though it only rolls back, may not leave yet either.
        left = threading.Event()

        def look() -> None:
            tx = store.transaction(writable=True)
            assert balances(tx) == {"a": 2}
            tx.rollback()
            left.set()

        looker = threading.Thread(target=look)
        looker.start()
        time.sleep(0.05)
        assert not left.is_set()
        let_sync.set()
        thread.join()
        looker.join()
        assert returned.is_set()
        assert left.is_set()
        assert store.transaction().revision == 2


def test_interrupt_right_after_a_sync_leaves_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(deque[object]):
        def popleft(self) -> object:
            group = super().popleft()
            if len(syncs) == 3:  # the group of the two that came while the first one synced
                raise KeyboardInterrupt
            return group

    syncs: list[str] = []
    others_wait = threading.Event()

    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".log"):
            syncs.append(path)
            if len(syncs) == 2:
                others_wait.wait(5)

    monkeypatch.setattr("eventstore.log.writer.deque", Interrupted)
    path = tmp_path / "store"
    store = open_store(path, file_system=HookedFileSystem(hook))
    syncs.clear()
    add(store, 1)
    results: list[BaseException | None] = []

    def run() -> None:
        try:
            add(store, 1)
            results.append(None)
        except BaseException as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 5
    while store.stats()["revision"] < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    others_wait.set()
    for thread in threads:
        thread.join(5)
    assert sorted(type(result).__name__ for result in results) == [
        "KeyboardInterrupt",
        "NoneType",
        "NoneType",
    ]
    store.close()
    with open_store(path) as store:
        assert store.transaction().revision == 4


def test_group_fills_up_while_a_sync_runs(tmp_path: Path) -> None:
    syncs: list[str] = []
    first = threading.Event()
    let_go = threading.Event()

    def hook(call: str, path: str) -> None:
        if call == "sync" and path.endswith(".log") and store_is_open:
            syncs.append(path)
            first.set()
            let_go.wait(5)

    store_is_open = False
    with open_store(tmp_path / "store", file_system=HookedFileSystem(hook)) as store:
        add(store, 1)
        store_is_open = True
        threads = [threading.Thread(target=add, args=(store,)) for _ in range(6)]
        threads[0].start()
        assert first.wait(5)
        for thread in threads[1:]:
            thread.start()
        deadline = time.monotonic() + 5
        while store.stats()["revision"] < 7 and time.monotonic() < deadline:
            time.sleep(0.005)
        let_go.set()
        for thread in threads:
            thread.join()
        assert store.transaction().revision == 7
        assert len(syncs) == 2
