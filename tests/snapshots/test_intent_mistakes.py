"""A mistake with intents is told in words, before anything is done, on the disk or in the store."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS

from eventstore import (
    EventStoreError,
    ReadOnlyStoreError,
    StoreFailedError,
    TransactionClosedError,
)
from eventstore.testing import STORE_PATH, Call, Failure, SimulatedFileSystem
from projections.snapshots import (
    AsyncMetaStore,
    FailedPreconditionError,
    Intent,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.snapshots import OpenStore


def leave_open(store: MetaStore) -> Intent:
    """Leave an intent open, as a crash does: its kind has no handler here."""
    with store.intent("prepare", "left") as intent:
        pass
    return intent


def read_transaction(store: MetaStore) -> Any:
    return store.transaction()


def ended_read_transaction(store: MetaStore) -> Any:
    with store.transaction() as ended:
        return ended


def past_transaction(store: MetaStore) -> Any:
    return store.at(0)


def plain_read_transaction(store: MetaStore) -> Any:
    return store.event_store.transaction()


def committed_transaction(store: MetaStore) -> Any:
    with store.transaction(writable=True) as ended:
        ended.create_snapshot(Kind.ACTIVE, "made")
    return ended


def rolled_back_transaction(store: MetaStore) -> Any:
    with store.transaction(writable=True) as ended:
        ended.rollback()
    return ended


FOR_READING = (
    read_transaction,
    ended_read_transaction,
    past_transaction,
    plain_read_transaction,
)


@pytest.mark.parametrize("begun", [*FOR_READING, committed_transaction, rolled_back_transaction])
def test_a_stage_in_a_transaction_that_can_not_write_is_refused_as_a_write_is(
    store: MetaStore, begun: Callable[[MetaStore], Any]
) -> None:
    tx = begun(store)
    expected: type[EventStoreError]
    if begun in FOR_READING:
        expected, says = ReadOnlyStoreError, r"for reading only: begin it with .*writable=True"
    else:
        expected, says = TransactionClosedError, "begin another one"
    for _ in range(2):
        with pytest.raises(expected, match=says):
            store.stage(tx, "place", "k")
    assert store.intents() == ()


@pytest.mark.parametrize("value", [None, 5, "tx", object()])
def test_a_stage_in_what_is_no_transaction_is_refused(store: MetaStore, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="is no transaction"):
        store.stage(value, "place", "k")


def test_a_stage_in_a_transaction_of_another_store_is_refused_and_forgets_nothing(
    store: MetaStore, open_store: OpenStore
) -> None:
    other, follower = open_store("other"), open_store(read_only=True)
    with store.transaction(writable=True) as tx:
        staged = store.stage(tx, "place", "k")
        for handle in (other, follower):
            with pytest.raises(InvalidArgumentError, match="the transaction is of another store"):
                handle.stage(tx, "place", "k")
    store.finished(staged)
    with other.transaction(writable=True) as tx:
        with pytest.raises(InvalidArgumentError, match="the transaction is of another store"):
            store.stage(tx, "place", "k")
        tx.create_snapshot(Kind.ACTIVE, "goes on")
    assert other.intents() == ()
    with store.transaction(writable=True) as tx:
        store.stage(tx, "place", "next")
    assert [intent.key for intent in store.intents()] == ["next"]


def test_a_stage_in_a_plain_transaction_of_the_event_store_is_recorded(store: MetaStore) -> None:
    with store.event_store.transaction(writable=True) as tx:
        assert tx.store_id == store.event_store.store_id
        staged = store.stage(tx, "place", "k")  # type: ignore[arg-type]
    assert store.intents() == (staged,)


def test_a_front_refuses_the_same_stages(tmp_path: Path) -> None:
    async def work() -> None:
        async with await AsyncMetaStore.open(tmp_path / "store", options=OPTIONS) as front:
            async with front.transaction() as now:
                with pytest.raises(ReadOnlyStoreError, match=r"begin it with .*writable=True"):
                    front.stage(now, "place", "k")  # type: ignore[arg-type]
            async with front.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, "k")
            with pytest.raises(TransactionClosedError):
                front.stage(tx, "place", "k")
            unentered: Any = front.transaction(writable=True)
            with pytest.raises(InvalidArgumentError, match="is no transaction"):
                front.stage(unentered, "place", "k")
            with pytest.raises(InvalidArgumentError, match="'k' is no intent"):
                await front.abort("k")  # type: ignore[arg-type]
            assert await front.intents() == ()

    asyncio.run(work())


@pytest.mark.parametrize("value", ["k", 5, ("prepare", "k"), object()])
def test_what_is_no_intent_is_refused(store: MetaStore, value: Any) -> None:
    for call in (store.abort, store.finished):
        with pytest.raises(InvalidArgumentError, match="is no intent"):
            call(value)
    with store.transaction(writable=True) as tx:
        with pytest.raises(InvalidArgumentError, match="is no intent"):
            tx.fulfil(value)
        with pytest.raises(InvalidArgumentError, match="is no intent"):
            tx.create_snapshot(Kind.ACTIVE, "k", intent=value)
        assert tx.create_snapshot(Kind.ACTIVE, "k").id == "1"


def test_a_follower_settles_and_finishes_nothing(store: MetaStore, open_store: OpenStore) -> None:
    with store.transaction(writable=True) as tx:
        staged = store.stage(tx, "place", "k")
    called: list[Intent] = []
    follower = open_store(read_only=True, handlers={"place": called.append})
    for call in (follower.settle, lambda: follower.finished(staged)):
        with pytest.raises(ReadOnlyStoreError, match="open it without read_only"):
            call()
    assert called == []
    assert follower.intents() == (staged,)


def test_nothing_is_settled_by_a_handle_that_has_failed() -> None:
    disk, called = SimulatedFileSystem(), list[Intent]()

    def fails(call: Call) -> Failure | None:
        return Failure(5) if call.name == "sync" and call.path.endswith(".log") else None

    with MetaStore.open(STORE_PATH, file_system=disk, options=OPTIONS) as store:
        left = leave_open(store)
        settling = MetaStore(store.event_store, {"prepare": called.append})
        disk.fault = fails
        with pytest.raises(StoreFailedError), store.transaction(writable=True) as tx:
            tx.fulfil(left)
        with pytest.raises(StoreFailedError):
            settling.settle()
        assert called == []
        disk.fault = None


def test_what_begins_while_another_thread_settles_is_not_undone_in_its_block(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Intent] = []
    store = open_store(handlers={"prepare": called.append})
    settling, blocks = threading.get_ident(), contextlib.ExitStack()

    def begin_another(begin: Callable[..., Any]) -> Callable[..., Any]:
        def first_another(*arguments: Any) -> Any:
            if threading.get_ident() == settling and not begun:
                entering = threading.Thread(
                    target=lambda: begun.append(blocks.enter_context(store.intent("prepare", "k")))
                )
                entering.start()
                entering.join()
            return begin(*arguments)

        return first_another

    begun: list[Intent] = []
    for name in ("begin_read", "begin_write"):
        begin = getattr(store.event_store, name)
        monkeypatch.setattr(store.event_store, name, begin_another(begin))
    assert store.settle() == ()
    assert called == []
    blocks.close()
    assert called == begun
    assert len(begun) == 1


@pytest.mark.parametrize("made", ["9999", "4", str(2**63), str(2**70)])
def test_a_stage_with_an_id_that_nobody_was_given_is_refused(store: MetaStore, made: str) -> None:
    with store.intent("prepare", "reserves", reserve_id=True) as reserved:
        pass
    with store.transaction(writable=True) as tx:
        removed = tx.create_snapshot(Kind.ACTIVE, "removed").id
    with store.transaction(writable=True) as tx:
        live = tx.create_snapshot(Kind.ACTIVE, "made").id
        tx.remove("removed")
        says = rf"no snapshot has or had the id '{made}', and no intent has reserved it"
        with pytest.raises(NotFoundError, match=says):
            store.stage(tx, "place", "k", id=made)
        for known in (reserved.id, removed, live):
            assert store.stage(tx, "place", "k", id=known).id == known
    store.check()


@pytest.mark.parametrize("value", ["", "0", "-1", "01", " 1", "1.0", "one", "\u0661", 1, b"1"])
def test_a_stage_with_what_is_no_id_is_refused(store: MetaStore, value: Any) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "k")
        with pytest.raises(InvalidArgumentError, match=r"\bid\b"):
            store.stage(tx, "place", "k", id=value)
    assert store.intents() == ()


def test_no_snapshot_is_made_with_the_id_of_a_staged_one(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        made = tx.create_snapshot(Kind.ACTIVE, "k")
        staged = store.stage(tx, "place", "k", id=made.id)
        with pytest.raises(FailedPreconditionError, match="intent 1, place of 'k', is a staged"):
            tx.create_snapshot(Kind.ACTIVE, "again", intent=staged)
        tx.fulfil(staged)
        assert tx.create_snapshot(Kind.ACTIVE, "another").id == "2"
    store.check()
    assert store.intents() == ()


def test_a_kind_that_the_handlers_do_not_name_is_refused(
    store: MetaStore, open_store: OpenStore
) -> None:
    left = leave_open(store)
    store.close()
    called: list[Intent] = []
    store = open_store(handlers={"place": called.append, "by hand": None})
    says = r"no handler .* of kind 'plaec': there are 'by hand', 'place'; see MetaStore.open"
    with pytest.raises(InvalidArgumentError, match=says), store.intent("plaec", "k"):
        pytest.fail("entered")
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "k")
        with pytest.raises(InvalidArgumentError, match=says):
            store.stage(tx, "plaec", "k")
    assert store.intents() == (left,)


def test_a_kind_whose_handler_is_none_stays_open_for_somebody_to_end(open_store: OpenStore) -> None:
    handlers = {"by hand": None}
    with open_store(handlers=handlers) as store:
        with store.intent("by hand", "begun") as begun:
            pass
        with store.transaction(writable=True) as tx:
            staged = store.stage(tx, "by hand", "staged")
    store = open_store(handlers=handlers)
    assert store.settle() == ()
    assert store.intents(left_only=True) == (begun, staged)
    store.abort(begun)
    store.finished(staged)
    with store.transaction(writable=True) as tx:
        store.stage(tx, "by hand", "next")
    assert [intent.key for intent in store.intents()] == ["next"]


@pytest.mark.parametrize("handlers", [None, {}])
def test_a_store_without_handlers_takes_every_kind(open_store: OpenStore, handlers: Any) -> None:
    store = open_store(handlers=handlers)
    left = leave_open(store)
    assert store.intents() == (left,)
