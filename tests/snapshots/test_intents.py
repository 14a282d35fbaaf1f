"""Work outside the store is known by an intent until it is done; what a crash leaves is settled."""

from __future__ import annotations

import errno
import os
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS, create_committed

from eventstore import StoreClosedError, StoreFailedError, StoreOptions, acting_as
from eventstore.testing import STORE_PATH, Call, Failure, SimulatedFileSystem
from projections.snapshots import (
    Conclusion,
    FailedPreconditionError,
    Intent,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    SnapshotWriteTransaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.snapshots import OpenStore


class Handled:
    """A handler that remembers what it was called for."""

    def __init__(self, conclusion: Callable[[SnapshotWriteTransaction], object] | None = None):
        self.intents: list[Intent] = []
        self.conclusion = conclusion

    def __call__(self, intent: Intent) -> Callable[[SnapshotWriteTransaction], object] | None:
        self.intents.append(intent)
        return self.conclusion


def leave_open(store: MetaStore, key: str = "k", **arguments: Any) -> Intent:
    """Begin an intent that nobody ends, since its kind has no handler."""
    with store.intent("prepare", key, **arguments) as intent:
        pass
    return intent


def outcomes(store: MetaStore) -> list[str]:
    return [
        event.data["outcome"]
        for batch in store.event_store.batches()
        for event in batch.events
        if event.type == "intent.ended"
    ]


def test_an_intent_is_durable_before_the_work_and_ends_with_its_transaction(
    store: MetaStore,
) -> None:
    with (
        acting_as(actor="puller", reason="pull", request_id="r-1"),
        store.intent("prepare", "k", {"stage": "new-1"}) as intent,
    ):
        assert store.intents() == (intent,)
        assert store.intents(left_only=True) == ()
        assert store.event_store.stats()["durable_revision"] == 1
        with store.transaction(writable=True) as tx:
            assert tx.create_snapshot(Kind.ACTIVE, "k", intent=intent).id == "1"
    assert intent[1:8] == ("prepare", "k", {"stage": "new-1"}, None, "puller", "pull", "r-1")
    assert store.intents() == ()
    assert outcomes(store) == ["done"]
    assert store.event_store.stats()["durable_revision"] == 2


def test_a_reserved_id_is_given_to_nobody_else_whatever_is_rolled_back(store: MetaStore) -> None:
    with store.intent("prepare", "first", reserve_id=True) as first:
        assert first.id == "1"
        with store.transaction(writable=True) as tx:
            assert tx.create_snapshot(Kind.ACTIVE, "other").id == "2"
        with store.transaction(writable=True) as tx:
            assert tx.create_snapshot(Kind.ACTIVE, "first", intent=first).id == "1"
            tx.rollback()
        with store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "first", intent=first)
            assert tx.create_snapshot(Kind.ACTIVE, "third").id == "3"
            with pytest.raises(FailedPreconditionError, match="intent 1, prepare of 'first'"):
                tx.create_snapshot(Kind.ACTIVE, "again", intent=first)
    store.check()
    with store.intent("prepare", "gone", reserve_id=True) as gone:
        store.abort(gone)
    with store.transaction(writable=True) as tx:
        assert (gone.id, tx.create_snapshot(Kind.ACTIVE, "next").id) == ("4", "5")


def test_ids_go_on_after_those_of_an_open_intent_that_a_restart_has_left(
    store: MetaStore, open_store: OpenStore
) -> None:
    leave_open(store, reserve_id=True)
    store.checkpoint()
    store.close()
    again = open_store()
    with again.transaction(writable=True) as tx:
        assert tx.create_snapshot(Kind.ACTIVE, "k").id == "2"


def test_a_block_that_fails_is_undone_by_the_handler_of_its_kind(open_store: OpenStore) -> None:
    undo = Handled()
    store = open_store(handlers={"prepare": undo})
    with pytest.raises(OSError, match="no space"), store.intent("prepare", "k") as intent:
        raise OSError("no space")
    assert undo.intents == [intent]
    assert store.intents() == ()
    with store.intent("prepare", "k") as second:
        pass  # thought better of it
    assert undo.intents == [intent, second]
    assert outcomes(store) == ["undone", "undone"]


def test_a_fulfilled_intent_is_not_undone_by_an_error_after_it(open_store: OpenStore) -> None:
    undo = Handled()
    store = open_store(handlers={"prepare": undo})

    def fulfil_and_fail() -> None:
        with store.intent("prepare", "k") as intent:
            with store.transaction(writable=True) as tx:
                tx.fulfil(intent)
            raise KeyError

    with pytest.raises(KeyError):
        fulfil_and_fail()
    assert undo.intents == []
    assert outcomes(store) == ["done"]


def test_a_handler_that_fails_leaves_the_intent_to_the_next_open(
    open_store: OpenStore,
) -> None:
    def fails(intent: Intent) -> None:
        raise OSError(f"{intent.key}: busy")

    store = open_store(handlers={"prepare": fails})
    with pytest.raises(OSError, match="k: busy"), store.intent("prepare", "k"):
        pass
    assert [each.key for each in store.intents(left_only=True)] == ["k"]
    store.close()
    with pytest.raises(OSError, match="k: busy"):
        open_store(handlers={"prepare": fails})
    undo = Handled()
    again = open_store(handlers={"prepare": undo})
    assert [each.key for each in undo.intents] == ["k"]
    assert again.intents() == ()


def test_what_a_crash_left_is_listed_with_what_by_whom_and_when_and_settled_once(
    store: MetaStore, open_store: OpenStore
) -> None:
    with acting_as(actor="puller", reason="unpack", request_id="r-7"):
        left = leave_open(store, "k", data={"directory": "new-5", "uid": 7}, reserve_id=True)
    other = leave_open(store, "other")
    with store.transaction(writable=True) as tx:
        staged = store.stage(tx, "place", "s", {"from": "new-6"})
    store.close()

    follower = open_store(read_only=True)
    assert follower.intents() == (left, other, staged)
    assert [each.is_staged for each in follower.intents()] == [False, False, True]
    follower.close()

    place = Handled()
    again = open_store(handlers={"place": place})
    assert place.intents == [staged]
    assert again.intents(left_only=True) == (left, other)
    assert (left.actor, left.reason, left.request_id) == ("puller", "unpack", "r-7")
    assert left.time.tzinfo is not None
    assert again.settle() == ()
    again.close()

    undo = Handled()
    third = open_store(handlers={"prepare": undo, "place": place})
    assert undo.intents == [left, other]
    assert place.intents == [staged]
    assert third.intents() == ()


def test_a_handler_can_finish_in_the_transaction_that_ends_the_intent(
    store: MetaStore, open_store: OpenStore
) -> None:
    left = leave_open(store, reserve_id=True)
    store.close()
    finish = Handled(lambda tx: tx.create_snapshot(Kind.ACTIVE, "finished"))
    again = open_store(handlers={"prepare": finish})
    assert finish.intents == [left]
    batch = list(again.event_store.batches())[-1]
    assert [event.type for event in batch.events] == ["snapshot.created", "intent.ended"]


def test_a_handler_can_finish_with_the_id_that_was_reserved(
    store: MetaStore, open_store: OpenStore
) -> None:
    left = leave_open(store, reserve_id=True)
    store.close()
    made: list[str] = []

    def finish(intent: Intent) -> Conclusion:
        return lambda tx: made.append(tx.create_snapshot(Kind.ACTIVE, "finished", intent=intent).id)

    again = open_store(handlers={"prepare": finish})
    assert made == [left.id]
    assert again.intents() == ()


@pytest.mark.parametrize(
    ("conclusion", "error"),
    [
        (lambda tx: tx.remove("nothing"), NotFoundError),
        (lambda tx: tx.commit(), FailedPreconditionError),
        (lambda tx: tx.rollback(), FailedPreconditionError),
        (5, TypeError),
    ],
)
def test_what_a_handler_gives_and_can_not_be_done_says_for_which_intent_and_leaves_it_open(
    conclusion: Any, error: type[Exception], store: MetaStore
) -> None:
    left = leave_open(store)
    store.close()
    with pytest.raises(error) as raised:
        MetaStore.open(store.path, options=OPTIONS, handlers={"prepare": lambda _: conclusion})
    assert f"for intent {left.number} about" in raised.value.__notes__[0]
    with MetaStore.open(store.path, options=OPTIONS) as again:
        assert again.intents() == (left,)
        assert again.event_store.stats()["durable_revision"] == 1


def test_threads_that_settle_at_once_call_each_handler_once(store: MetaStore) -> None:
    left = [leave_open(store, f"k{number}") for number in range(20)]
    store.close()
    handled = Handled()
    again = MetaStore.open(store.path, options=OPTIONS)
    settling = MetaStore(again.event_store, {"prepare": handled})
    threads = [threading.Thread(target=settling.settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(handled.intents) == left
    assert again.intents() == ()
    again.close()


def test_what_one_thread_is_settling_no_other_one_settles(store: MetaStore) -> None:
    left = leave_open(store, "k")
    store.close()
    called: list[Intent] = []
    settled_beside: list[tuple[Intent, ...]] = []

    def handler(intent: Intent) -> None:
        called.append(intent)
        if len(called) == 1:
            other = threading.Thread(target=lambda: settled_beside.append(settling.settle()))
            other.start()
            other.join(20)

    again = MetaStore.open(store.path, options=OPTIONS)
    settling = MetaStore(again.event_store, {"prepare": handler})
    assert settling.settle() == (left,)
    assert (called, settled_beside) == ([left], [()])
    again.close()


def test_a_stage_is_recorded_by_the_batch_itself_and_its_end_by_a_later_one(
    store: MetaStore, tmp_path: Path
) -> None:
    intents = []
    for number in range(3):
        with store.staging() as name:
            (tmp_path / name).mkdir()
            with store.transaction(writable=True) as tx:
                made = tx.create_snapshot(Kind.ACTIVE, f"k{number}")
                intents.append(store.stage(tx, "place", f"k{number}", {"from": name}, id=made.id))
            os.rename(tmp_path / name, tmp_path / made.id)
        store.finished(intents[-1])
    assert store.event_store.stats()["durable_revision"] == 3
    assert store.intents() == (intents[2],)
    store.close()
    with MetaStore.open(store.path, options=OPTIONS) as again:
        assert again.intents() == ()
    assert outcomes_at(store.path) == ["done"] * 3


def outcomes_at(path: str) -> list[str]:
    with MetaStore.open(path, read_only=True) as store:
        return outcomes(store)


def test_a_rolled_back_transaction_does_not_forget_what_was_finished(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        first = store.stage(tx, "place", "a")
    store.finished(first)
    with store.transaction(writable=True) as tx:
        store.stage(tx, "place", "b")
        tx.rollback()
    assert store.intents() == (first,)
    with store.transaction(writable=True) as tx:
        second = store.stage(tx, "place", "c")
    assert store.intents() == (second,)


def test_only_an_open_stage_can_be_finished(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        aborted, kept = store.stage(tx, "place", "a"), store.stage(tx, "place", "b")
    store.abort(aborted)
    with pytest.raises(FailedPreconditionError, match=r"intent 1, 'place' of 'a', is not open"):
        store.finished(aborted)
    begun = leave_open(store)
    with pytest.raises(FailedPreconditionError, match="is not a staged one"):
        store.finished(begun)
    with pytest.raises(InvalidArgumentError, match="'b' is no intent"):
        store.finished("b")  # type: ignore[arg-type]
    store.finished(kept)
    store.finished(kept)
    store.close()
    assert outcomes_at(store.path) == ["undone", "done"]


def test_a_closed_store_gives_no_stage_and_takes_no_end(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        intent = store.stage(tx, "place", "a")
    store.close()
    with pytest.raises(StoreClosedError), store.staging():
        pass
    with pytest.raises(StoreClosedError):
        store.finished(intent)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"a": "\ud800"}, r"text 'a' in the data of the intent '\\ud800' holds a lone surrogate"),
        ({"\ud800": "a"}, r"name in the data of the intent '\\ud800' holds a lone surrogate"),
        ({"a": 2**64}, r"data of the intent: 'a': a number of 65 bits takes more than 64 bits"),
        ({"a": -(2**63) - 1}, r"data of the intent: 'a': -9\d+ takes more than 64 bits"),
    ],
)
def test_data_of_an_intent_that_the_log_can_not_hold_is_named(
    store: MetaStore, data: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=says), store.intent("prepare", "k", data):
        pass
    with store.transaction(writable=True) as tx:
        with pytest.raises(InvalidArgumentError, match=says):
            store.stage(tx, "place", "k", data)
        kept = store.stage(tx, "place", "k", {"a": 2**64 - 1, "b": -(2**63)})
    assert store.intents() == (kept,)


def test_names_for_stages_are_never_given_twice(store: MetaStore) -> None:
    names = set()
    for _ in range(200):
        with store.staging("tmp-") as name:
            names.add(name)
    assert len(names) == 200
    assert all(name.startswith("tmp-") for name in names)


def fails_sync_of_the_log(call: Call) -> Failure | None:
    is_log = call.path.endswith(".log")
    return Failure(errno.EIO) if call.name == "sync" and is_log else None


def test_nothing_is_undone_where_nobody_knows_whether_the_batch_is_there() -> None:
    disk, undo = SimulatedFileSystem(), Handled()
    arguments: Any = {"options": OPTIONS, "handlers": {"p": undo}}

    def fail() -> None:
        with store.intent("p", "k") as intent, store.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "k", intent=intent)
            disk.fault = fails_sync_of_the_log

    with MetaStore.open(STORE_PATH, file_system=disk, **arguments) as store:
        with pytest.raises(StoreFailedError):
            fail()
        assert undo.intents == []
        disk.fault = None
    seen = set()
    for image in disk.images(100, Random(1)):
        undo.intents.clear()
        left = SimulatedFileSystem(image.medium)
        with MetaStore.open(STORE_PATH, file_system=left, **arguments) as store:
            with store.transaction() as now:
                is_made = any(now.find("k"))
            assert [each.key for each in undo.intents] == ([] if is_made else ["k"])
            assert store.intents() == ()
        seen.add(is_made)
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("kind", "key", "data"),
    [
        ("", "k", None),
        ("p", "", None),
        ("p", 5, None),
        ("p", "k", {"a": 1.5}),
        ("p", "k", {"a": ["b"]}),
        ("p", "k", {5: "b"}),
        ("p", "k", {"a": True}),
    ],
)
def test_an_intent_that_could_not_be_kept_is_refused(
    store: MetaStore, kind: Any, key: Any, data: Any
) -> None:
    with pytest.raises(InvalidArgumentError), store.intent(kind, key, data):
        pytest.fail("entered")
    with store.transaction(writable=True) as tx, pytest.raises(InvalidArgumentError):
        store.stage(tx, kind, key, data)
    assert store.intents() == ()


def test_intents_outlive_checkpoints_and_the_past_has_them(
    store: MetaStore, open_store: OpenStore
) -> None:
    left = leave_open(store, data={"a": b"\xff", "n": None}, reserve_id=True)
    store.checkpoint()
    store.abort(left)
    store.close()
    again = open_store()
    assert again.intents() == ()
    assert [intent for _, intent in again.at(revision=1).items("snapshot_intents")] == [left]


def test_an_error_about_a_snapshot_names_no_call(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base")
        with pytest.raises(NotFoundError) as error:
            tx.get_info("none")
    assert str(error.value) == "snapshot 'none' does not exist"


@pytest.mark.parametrize("data", ["abc", [("a", "b")], 5])
def test_data_that_is_no_mapping_is_refused(store: MetaStore, data: Any) -> None:
    with (
        pytest.raises(InvalidArgumentError, match="must be a mapping"),
        store.intent("a", "b", data),
    ):
        pytest.fail("entered")
    assert store.intents() == ()


def test_a_handler_that_is_no_function_is_refused_at_the_open(open_store: OpenStore) -> None:
    handlers: Any = {"prepare": 5}
    with pytest.raises(InvalidArgumentError, match="must be a function"):
        open_store(handlers=handlers)
    with open_store() as store:
        assert store.intents() == ()


async def handle_asynchronously(intent: Intent) -> None:
    _ = intent


def test_an_async_handler_is_refused_at_open(open_store: OpenStore) -> None:
    with pytest.raises(TypeError, match=r"handler of 'prepare' is an async function.*a thread"):
        open_store(handlers={"prepare": handle_asynchronously})


@pytest.mark.parametrize("is_conclusion", [False, True])
def test_what_a_handler_gives_to_be_awaited_is_refused_and_the_intent_stays_open(
    open_store: OpenStore, is_conclusion: bool
) -> None:
    with open_store() as store:
        intent = leave_open(store)

    async def wait(*_: object) -> None:
        return None

    def handler(intent: Intent) -> Any:
        return wait if is_conclusion else wait(intent)

    with pytest.raises(TypeError, match="handler of 'prepare'"):
        open_store(handlers={"prepare": handler})
    assert open_store().intents() == (intent,)


def test_what_a_handler_raises_says_for_which_intent(open_store: OpenStore) -> None:
    with open_store() as store:
        leave_open(store, "first", actor="puller")

    def fail(intent: Intent) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    with pytest.raises(OSError, match="the disk is gone") as caught:
        open_store(handlers={"prepare": fail})
    [note] = caught.value.__notes__
    assert "the handler of 'prepare', for intent 1 about 'first', begun 20" in note
    assert "UTC by puller: the intent stays open" in note
    assert store.path in note
    store = open_store()
    store._work.handlers["prepare"] = fail
    with pytest.raises(OSError, match="the disk") as caught, store.intent("prepare", "second"):
        pass
    assert "intent 2 about 'second'" in caught.value.__notes__[0]
    assert "nobody named" in caught.value.__notes__[0]


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("is_conclusion", [False, True])
def test_what_interrupts_a_handler_says_in_which_intent(
    open_store: OpenStore, interrupt: type[BaseException], is_conclusion: bool
) -> None:
    with open_store() as store:
        left = leave_open(store, "first")

    def stop(_: object) -> None:
        raise interrupt

    with pytest.raises(interrupt) as caught:
        open_store(handlers={"prepare": Handled(stop) if is_conclusion else stop})
    [note] = caught.value.__notes__
    assert "handler of 'prepare'" in note
    assert "for intent 1 about 'first'" in note
    assert open_store().intents() == (left,)


def test_a_store_that_requires_an_actor_settles_what_was_begun_without_one(
    open_store: OpenStore,
) -> None:
    with open_store() as store:
        leave_open(store, "nobody's")
        leave_open(store, "puller's", actor="puller")
    options = StoreOptions(require_actor=True, background=False)
    store = open_store(options=options, handlers={"prepare": Handled(lambda tx: None)})
    ends = [batch.metadata.actor for batch in store.event_store.batches(3)]
    assert ends == ["snapledger", "puller"]
