"""One revision is what everybody is shown, and it never goes back for anyone who has seen it."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.engine import HookedFileSystem, add, balance, open_store, state_durable
from support.ledger import ACCOUNTS, deposit

from eventstore import Event, Receipt, ReceiptError
from eventstore.tables.state import State
from eventstore.tables.table import Table
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore import EventStore

TRIAL_SECONDS = 0.4


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(interval)


def learn_by_giving_up(store: EventStore) -> int:
    """Return the revision that a write transaction has built on."""
    with store.transaction(writable=True) as tx:
        pass
    return tx.revision


def learn_by_watching(store: EventStore) -> int:
    seen = store.transaction().revision
    return max([seen, *(batch.revision for batch in store.watch(seen + 1, timeout=0))])


def learn_from_batches(store: EventStore) -> int:
    seen = store.transaction().revision
    return max([seen, *(batch.revision for batch in store.batches(seen + 1))])


def learn_from_stats(store: EventStore) -> int:
    revision = store.stats()["durable_revision"]
    assert isinstance(revision, int)
    return revision


def learn_from_the_past(store: EventStore) -> int:
    return store.at(time=time.time_ns()).revision


WAYS = [
    learn_by_giving_up,
    learn_by_watching,
    learn_from_batches,
    learn_from_stats,
    learn_from_the_past,
]


@pytest.mark.usefixtures("frequent_switches")
@pytest.mark.parametrize("learn", WAYS)
def test_what_a_thread_has_learned_of_it_is_shown_from_then_on(
    learn: Callable[[EventStore], int],
) -> None:
    gone_back: list[tuple[int, int]] = []
    with open_store(Path("/store"), file_system=SimulatedFileSystem(keep_steps=False)) as store:
        add(store, 1)
        done = threading.Event()

        def commit() -> None:
            while not done.is_set():
                add(store, 1)

        writers = [threading.Thread(target=commit) for _ in range(2)]
        for thread in writers:
            thread.start()
        end = time.monotonic() + TRIAL_SECONDS
        while time.monotonic() < end:
            learned = learn(store)
            with store.transaction() as reader:
                if reader.revision < learned:
                    gone_back.append((learned, reader.revision))
        done.set()
        for thread in writers:
            thread.join()
    assert gone_back == []


def test_a_durable_batch_that_is_not_linked_yet_is_shown_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader of a group may sync it before another member has linked its version."""
    syncing, may_sync = threading.Event(), threading.Event()
    appended, may_link = threading.Event(), threading.Event()
    armed = False

    def hook(call: str, path: str) -> None:
        if armed and call == "sync" and path.endswith(".log"):
            syncing.set()
            may_sync.wait(10)

    sound = State.commit

    def commit(state: State, revision: int, digest: bytes, time_ns: int) -> object:
        if revision == 4:
            appended.set()
            may_link.wait(10)
        return sound(state, revision, digest, time_ns)

    monkeypatch.setattr(State, "commit", commit)
    with open_store(tmp_path / "store", file_system=HookedFileSystem(hook)) as store:
        add(store, 1)
        armed = True
        threads = [threading.Thread(target=add, args=(store, 1))]
        threads[0].start()
        assert syncing.wait(10)  # revision 2, alone
        threads += [threading.Thread(target=add, args=(store, 1)) for _ in range(2)]
        threads[1].start()
        while store.stats()["revision"] < 3:  # which leads the next group
            time.sleep(0.001)
        threads[2].start()
        assert appended.wait(10)  # revision 4, in that group
        armed = False
        may_sync.set()
        for thread in threads[:2]:
            thread.join()
        durable = list(store._log.read(1, 9))
        assert [record.revision for record in durable] == [1, 2, 3, 4]
        assert balance(store) == store.transaction().revision == 3
        assert [batch.revision for batch in store.batches()] == [1, 2, 3]
        assert [batch.revision for batch in store.watch(1, timeout=0)] == [1, 2, 3]
        assert store.stats()["durable_revision"] == 3
        with pytest.raises(ValueError, match="is not there"):
            store.at(4)
        assert store.at(time=time.time_ns()).revision == 3
        receipt = Receipt(store.store_id, 4, durable[-1].digest)
        with pytest.raises(ReceiptError, match="is not there"):
            store.check_receipt(receipt)
        assert store.checkpoint() == 3
        may_link.set()
        threads[2].join()
        assert balance(store) == store.transaction().revision == 4
        assert store.check_receipt(receipt).revision == 4
        assert store.at(4).revision == 4


def test_a_follower_shows_batches_and_tables_of_one_revision(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
        with open_store(path, read_only=True) as follower:
            for number in range(4, 8):
                add(store, 1)
                assert learn_from_batches(follower) == number
                assert follower.transaction().revision == number
            add(store, 1)
            assert follower.stats()["durable_revision"] == 8
            # After a power loss the file may be old; what was shown stays shown.
            state_durable(path, 2)
            assert learn_from_batches(follower) == learn_by_watching(follower) == 8
            assert follower.transaction().revision == 8


def test_batch_whose_commit_was_interrupted_before_it_was_shown_is_shown_to_the_next_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(state: State, log: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with open_store(tmp_path / "store") as store:
        add(store, 1)
        tx = store.transaction(writable=True)
        deposit(tx, "a", 1)
        monkeypatch.setattr(State, "shown", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tx.commit()
        assert store.transaction().revision == 2


def test_reader_sees_nothing_of_what_is_being_changed(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        reader = store.transaction()
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 10)
            assert reader.get(ACCOUNTS, "a").balance == 3
        assert reader.get(ACCOUNTS, "a").balance == 3


@pytest.mark.parametrize("has_scanned", [False, True])
def test_look_up_that_a_commit_overtakes_shows_its_own_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_scanned: bool
) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        reader = store.transaction()
        if has_scanned:  # which makes a view
            assert len(list(reader.items(ACCOUNTS))) == 1
        raw = Table.raw

        def overtaken(table: Table, key: object) -> object:
            monkeypatch.setattr(Table, "raw", raw)
            add(store)
            return raw(table, key)

        monkeypatch.setattr(Table, "raw", overtaken)
        assert reader.get(ACCOUNTS, "a").balance == 3
        assert Table.raw is raw
        assert store.transaction().get(ACCOUNTS, "a").balance == 4


def test_reader_sees_nothing_of_a_batch_behind_one_without_effect(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        reader = store.transaction()
        with store.transaction(writable=True) as tx:
            tx.emit(Event("nobody.knows", None))
        add(store)
        assert reader.get(ACCOUNTS, "a").balance == 3
