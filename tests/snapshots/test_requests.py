"""A request that is made again gets the first answer and changes nothing, whatever came between."""

from __future__ import annotations

import contextlib
import math
import pickle
import threading
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import create_committed

from eventstore import EventStoreError, Retention, StoreOptions, acting_as
from eventstore.testing import SMALL, STORE_PATH, SimulatedFileSystem
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NotFoundError,
    Request,
    RequestWindow,
    SnapshotWriteTransaction,
    Usage,
    requests,
)

if TYPE_CHECKING:
    from support.snapshots import OpenStore


def create(store: MetaStore, request_id: str, key: str = "k", **arguments: Any) -> Request:
    def work(tx: SnapshotWriteTransaction) -> str:
        return tx.create_snapshot(Kind.ACTIVE, key).id

    return store.once(request_id, ("create", key), work, **arguments)


def test_a_repeated_request_gets_the_first_receipt_and_result_and_changes_nothing(
    store: MetaStore,
) -> None:
    first = create(store, "r-1", actor="puller", reason="pull")
    again = create(store, "r-1", actor="somebody else")
    assert (first.result, first.revision, first.is_repeat) == ("1", 1, False)
    assert again == first._replace(is_repeat=True)
    assert first.receipt is not None
    assert store.check_receipt(first.receipt).metadata == ("puller", "pull", "r-1")
    assert store.find_request("r-1") == again
    assert store.find_request("r-2") is None
    assert RequestWindow() == (86_400.0, 100_000)
    assert store.stats()["revision"] == 1


def test_an_answer_outlives_restarts_checkpoints_and_compaction(
    open_store: OpenStore,
) -> None:
    options = StoreOptions(segment_bytes=4096, background=False)
    store = open_store(options=options)
    first = create(store, "r-1")
    for number in range(40):
        with store.transaction(writable=True) as tx:
            create_committed(tx, f"filler {number}" + "x" * 200)
    store.compact()
    store.compact()
    store.close()
    again = open_store(options=options)
    assert create(again, "r-1") == first._replace(is_repeat=True)
    again.close()
    follower = open_store(read_only=True)
    assert follower.find_request("r-1") == first._replace(is_repeat=True)


def test_where_the_batch_is_dropped_the_result_is_known_and_the_receipt_is_not(
    open_store: OpenStore,
) -> None:
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention.none())
    store = open_store(options=options)
    first = create(store, "r-1")
    for number in range(40):
        with store.transaction(writable=True) as tx:
            create_committed(tx, f"filler {number}" + "x" * 300)
        if number % 10 == 9:
            store.compact()
    assert store.event_store.oldest_revision() > 1
    assert create(store, "r-1") == first._replace(is_repeat=True, receipt=None)


def test_the_same_id_with_other_content_is_an_error_and_changes_nothing(store: MetaStore) -> None:
    create(store, "r-1")
    for content in (("create", "other"), ("remove", "k"), ("create", "k", None), None):
        with pytest.raises(FailedPreconditionError, match="'r-1' was made before, at revision 1"):
            store.once("r-1", content, lambda tx: pytest.fail("called"))
    assert store.stats()["revision"] == 1


def test_equal_content_is_the_same_whatever_it_is_made_of(store: MetaStore) -> None:
    store.once("r", {"b": [1, (2.5, b"x")], "a": Kind.ACTIVE}, lambda tx: None)
    again = store.once(
        "r", {"a": "active", "b": (1, [2.5, b"x"])}, lambda tx: pytest.fail("called")
    )
    assert again.is_repeat
    unlike = [["ab"], ["a", "b"], "ab", b"ab", {"a": "b"}, ["a", ["b"]], 1, True, "1", None, [], {}]
    for number, content in enumerate(unlike):
        store.once(f"u{number}", content, lambda tx: None)
        for other in unlike[:number] + unlike[number + 1 :]:
            with pytest.raises(FailedPreconditionError):
                store.once(f"u{number}", other, lambda tx: pytest.fail("called"))


def test_a_request_that_failed_can_be_made_again(store: MetaStore) -> None:
    def fails(tx: SnapshotWriteTransaction) -> None:
        tx.create_snapshot(Kind.ACTIVE, "k")
        tx.get_info("none")

    with pytest.raises(NotFoundError):
        store.once("r-1", "x", fails)
    assert store.find_request("r-1") is None
    assert create(store, "r-1").result == "1"


def test_of_many_calls_at_once_one_does_the_work(store: MetaStore) -> None:
    answers: list[Request] = []
    threads = [
        threading.Thread(target=lambda: answers.append(create(store, "r-1"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.is_repeat for each in answers) == [False] + [True] * 7
    assert len({each[:5] for each in answers}) == 1


def test_requests_leave_the_window_by_number_oldest_first(open_store: OpenStore) -> None:
    store = open_store(request_window=RequestWindow(requests=3))
    for number in range(6):
        create(store, f"r-{number}", f"k{number}")
        store.check()
    assert [store.find_request(f"r-{n}") is not None for n in range(6)] == [False] * 3 + [True] * 3
    store.close()
    smaller = open_store(request_window=RequestWindow(requests=1))
    create(smaller, "last", "last")
    assert smaller.find_request("r-5") is None
    assert smaller.find_request("last") is not None


def test_requests_leave_the_window_by_age(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(request_window=RequestWindow(seconds=60))
    clock = [1_000 * 10**9]
    monkeypatch.setattr("projections.snapshots.requests.time.time_ns", lambda: clock[0])
    create(store, "old", "old")
    clock[0] += 59 * 10**9
    create(store, "young", "young")
    assert create(store, "old", "old").is_repeat
    clock[0] += 2 * 10**9
    create(store, "new", "new")
    assert store.find_request("old") is None
    assert create(store, "young", "young").is_repeat


def test_an_actor_that_is_stated_around_it_is_that_of_the_request(store: MetaStore) -> None:
    with acting_as(actor="puller", request_id="of something larger"):
        create(store, "r-1")
    [batch] = store.event_store.batches()
    assert batch.metadata == ("puller", None, "r-1")


@pytest.mark.parametrize(
    ("request_id", "content", "result"),
    [
        ("", None, None),
        (5, None, None),
        ("r", object(), None),
        ("r", {1, 2}, None),
        ("r", None, ["list"]),
        ("r", None, {"a": ("b",)}),
        ("r", None, {5: "b"}),
        ("r", None, Usage()),
        ("r", None, "\udcff"),
        ("r", None, {"a": "\udcff"}),
        ("r", None, {"\udcff": "a"}),
        ("r", None, [10**5000]),
        ("r", {10**5000}, None),
    ],
)
def test_what_could_not_be_kept_or_compared_is_refused(
    store: MetaStore, request_id: Any, content: Any, result: Any
) -> None:
    with pytest.raises(InvalidArgumentError):
        store.once(request_id, content, lambda tx: result)
    assert store.stats()["revision"] == 0


@pytest.mark.parametrize("result", [None, True, 7, 1.5, "text", b"\xff", {"id": "1", "n": None}])
def test_a_result_comes_back_as_it_was(
    store: MetaStore, open_store: OpenStore, result: Any
) -> None:
    store.once("r", None, lambda tx: result)
    store.checkpoint()
    store.close()
    found = open_store().find_request("r")
    assert found is not None
    assert found.result == result
    assert type(found.result) is type(result)


def test_a_crash_at_any_call_leaves_the_request_done_once_or_not_at_all() -> None:
    calls, is_whole, seen = 0, False, set()
    while not is_whole:
        disk, answers = SimulatedFileSystem(keep_steps=False), list[Request]()
        disk.cut_power(after_calls=calls)
        with contextlib.suppress(OSError, EventStoreError):
            store = MetaStore.open(STORE_PATH, options=SMALL, file_system=disk)
            answers.append(create(store, "r-1"))
            store.checkpoint()
            answers.append(create(store, "r-2", "k2"))
            store.close()
            is_whole = True
        images = [SimulatedFileSystem(each.medium) for each in disk.images(6, Random(calls))]
        for after in (disk.after_kill(), *images):
            with MetaStore.open(STORE_PATH, options=SMALL, file_system=after) as store:
                for answer in answers:
                    assert store.find_request(answer.id) == answer._replace(is_repeat=True)
                seen.add(len(answers))
                first = create(store, "r-1")
                second = create(store, "r-2", "k2")
                assert (first.result, second.result) == ("1", "2")
                store.check()
                with store.transaction() as now:
                    assert now.id_map() == {"1": "k", "2": "k2"}
        calls += 2
    assert seen == {0, 1, 2}


def test_a_request_that_another_call_carries_out_meanwhile_is_not_carried_out_again(
    store: MetaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_repeat = requests.is_repeat

    def work(tx: SnapshotWriteTransaction) -> str:
        return tx.create_snapshot(Kind.ACTIVE, f"k{tx.revision}").id

    def overtaken(*arguments: Any) -> bool:
        found = is_repeat(*arguments)
        monkeypatch.undo()
        store.once("r", "content", work)
        return found

    monkeypatch.setattr(requests, "is_repeat", overtaken)
    answer = store.once("r", "content", work)
    assert (answer.is_repeat, answer.result) == (True, "1")
    with store.transaction() as now:
        assert len(now.id_map()) == 1


def test_a_commit_whose_answer_was_lost_is_recognised(store: MetaStore) -> None:
    with store.transaction(writable=True, actor="puller") as tx:
        tx.create_snapshot(Kind.ACTIVE, "k")
        tx.commit_active("k", "name", Usage(1, 10), {"a": "1", "b": ""})
    with store.transaction(writable=True) as tx:
        with pytest.raises(AlreadyExistsError):
            tx.commit_active("k", "name", Usage(1, 10))
        tx.rollback()
    with store.transaction(writable=True) as tx:
        tx.update_info("name", {"a": "2"})
    found = store.find_commit("k", "name", usage=Usage(1, 10), labels={"a": "1"})
    assert found is not None
    assert (found.revision, found.id, found.metadata.actor) == (1, "1", "puller")
    assert store.find_commit("k", "name") == found
    assert store.find_commit("other", "name") is None
    assert store.find_commit("k", "other") is None
    assert store.find_commit("k", "name", usage=Usage(1, 11)) is None
    assert store.find_commit("k", "name", labels={}) is None


def test_a_commit_is_not_taken_for_another_of_the_same_names(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "k")
        tx.commit_active("k", "name", Usage())
        tx.create_snapshot(Kind.ACTIVE, "k")
    assert store.find_commit("k", "name") is None  # it is another k that is to be committed now
    with store.transaction(writable=True) as tx:
        tx.remove("k")
    assert store.find_commit("k", "name") is not None
    with store.transaction(writable=True) as tx:
        tx.remove("name")
        tx.create_snapshot(Kind.ACTIVE, "name")
    assert store.find_commit("k", "name") is None


def test_content_that_holds_itself_or_is_too_deep_is_refused(store: MetaStore) -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for content in (circle, deep):
        with pytest.raises(InvalidArgumentError, match="nested too deep"):
            store.once("id", content, lambda tx: None)
    assert store.find_request("id") is None


def test_an_answer_is_repeated_though_the_snapshot_has_been_removed_since(
    store: MetaStore,
) -> None:
    first = create(store, "r-1")
    with store.transaction(writable=True) as tx:
        tx.remove("k")
    again = create(store, "r-1")
    assert again == first._replace(is_repeat=True)
    with store.transaction() as now, pytest.raises(NotFoundError):
        now.get_info("k")
    assert create(store, "r-2").result == "2"


class Asynchronous:
    """Work that is called as a function and is none."""

    async def __call__(self, tx: SnapshotWriteTransaction) -> None:
        tx.create_snapshot(Kind.ACTIVE, "k")


async def prepare_asynchronously(tx: SnapshotWriteTransaction) -> None:
    await Asynchronous()(tx)


def give_a_coroutine(tx: SnapshotWriteTransaction) -> Any:
    return prepare_asynchronously(tx)


@pytest.mark.parametrize(
    "work",
    [prepare_asynchronously, Asynchronous(), give_a_coroutine],
    ids=["function", "object", "coroutine"],
)
def test_async_work_is_refused_and_nothing_recorded(store: MetaStore, work: Any) -> None:
    with pytest.raises(TypeError, match="work of a request is an async function"):
        store.once("r-1", (), work)
    assert store.find_request("r-1") is None
    assert store.stats()["revision"] == 0


@pytest.mark.parametrize("way", ["commit", "rollback"])
def test_work_that_ends_its_transaction_is_refused_and_changes_nothing(
    way: str, store: MetaStore
) -> None:
    def work(tx: SnapshotWriteTransaction) -> None:
        tx.create_snapshot(Kind.ACTIVE, "k")
        getattr(tx, way)()

    with pytest.raises(FailedPreconditionError, match="the work of a request can't end"):
        store.once("r", [], work)
    assert store.find_request("r") is None
    with store.transaction() as now:
        assert list(now.walk_info()) == []
    store.once("r", [], lambda tx: tx.create_snapshot(Kind.ACTIVE, "k").id)


def test_a_result_of_more_than_64_bits_is_refused_as_what_it_is(store: MetaStore) -> None:
    for result in (2**63, {"a": -(2**63) - 1}):
        with pytest.raises(InvalidArgumentError, match="64 bits"):
            store.once("r", [], lambda tx, result=result: result)  # type: ignore[misc]
    assert store.once("r", [2**70], lambda tx: 2**63 - 1).result == 2**63 - 1


def test_content_may_have_numbers_of_any_length(store: MetaStore) -> None:
    for power in (600, 605, 5000):
        for number in (10**power, -(10**power)):
            first = store.once(f"{power} {number < 0}", [number], lambda tx: 1)
            assert store.once(first.id, [number], lambda tx: 2) == first._replace(is_repeat=True)
            for other in (number + 1, -number, hex(number), str(number < 0)):
                with pytest.raises(FailedPreconditionError, match="with other content"):
                    store.once(first.id, [other], lambda tx: 2)


@pytest.mark.parametrize(
    ("seconds", "requests"),
    [
        (math.inf, 1),
        (-math.inf, 1),
        (math.nan, 1),
        (1e300, 1),
        (-1, 1),
        ("60", 1),
        (10**400, 1),
        (60, math.inf),
        (60, 2.5),
        (60, -1),
        (60, None),
        (None, 1),
    ],
)
def test_a_window_that_could_not_be_kept_is_refused_when_it_is_made(
    seconds: Any, requests: Any
) -> None:
    with pytest.raises(InvalidArgumentError, match="window of requests"):
        RequestWindow(seconds, requests)
    with pytest.raises(InvalidArgumentError, match="window of requests"):
        RequestWindow()._replace(seconds=seconds, requests=requests)


def test_the_widest_and_the_narrowest_window_are_kept(open_store: OpenStore) -> None:
    for window in (RequestWindow(9e9, 10**18), RequestWindow(0, 0), RequestWindow(requests=1)):
        assert pickle.loads(pickle.dumps(window)) == window
        with open_store(request_window=window) as store:
            create(store, repr(window), repr(window))
            assert store.find_request(repr(window)) is not None
