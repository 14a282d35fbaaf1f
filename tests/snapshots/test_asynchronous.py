"""Tasks share the store by an asynchronous front; one that is cancelled leaves all or nothing."""

from __future__ import annotations

import asyncio
import inspect
import threading
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest
from support.snapshots import OPTIONS

from eventstore import StoreClosedError, WriterBusyError, acting_as
from projections.snapshots import AlreadyExistsError, Kind, MetaStore, NotFoundError, Usage
from projections.snapshots.asynchronous import AsyncMetaStore
from projections.snapshots.waiting import Beginning

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from eventstore import Batch
    from projections.snapshots import Intent


def run(tmp_path: Path, work: Callable[[AsyncMetaStore], Awaitable[Any]], **arguments: Any) -> Any:
    async def with_a_store() -> Any:
        front = await AsyncMetaStore.open(tmp_path / "store", options=OPTIONS, **arguments)
        async with front:
            done = await asyncio.wait_for(work(front), 60)
            front.store.check()
            return done

    return asyncio.run(with_a_store())


async def create(front: AsyncMetaStore, key: str, *, pause: bool = False) -> str:
    async with front.transaction(writable=True, actor=key) as tx:
        made = tx.create_snapshot(Kind.ACTIVE, key)
        if pause:
            await asyncio.sleep(0)
        tx.create_snapshot(Kind.VIEW, f"{key} too")
    return made.id


def names(front: AsyncMetaStore) -> set[str]:
    with front.store.transaction() as now:
        return set(now.id_map().values())


def test_hundreds_of_tasks_commit_and_share_syncs(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        ids = await asyncio.gather(*(create(front, f"k{n}", pause=n % 3 == 0) for n in range(300)))
        assert len(set(ids)) == 300
        async with front.transaction() as now:
            assert now.revision == 300
            assert len(now.id_map()) == 600

    run(tmp_path, work)


def test_a_commit_is_durable_and_an_error_undoes_all(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        async with front.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "k")
        assert tx.receipt is not None
        assert front.store.check_receipt(tx.receipt).revision == 1

        async def fail() -> None:
            async with front.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, "not")
                tx.get_info("none")

        with pytest.raises(NotFoundError):
            await fail()
        async with front.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "not")
            tx.rollback()
        assert names(front) == {"k"}

    run(tmp_path, work)


def test_tasks_take_turns_in_the_order_in_which_they_ask(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        await asyncio.gather(*(create(front, f"{n}", pause=True) for n in range(50)))
        batches = list(front.store.event_store.batches())
        assert [batch.metadata.actor for batch in batches] == [f"{n}" for n in range(50)]

    run(tmp_path, work)


def test_the_loop_goes_on_while_a_thread_has_the_writer_lock(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with front.store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, "of the thread")
                held.set()
                let_go.wait(20)

        thread = threading.Thread(target=hold)
        thread.start()
        await asyncio.to_thread(held.wait, 20)
        with pytest.raises(WriterBusyError):
            async with front.transaction(writable=True, timeout=0.05):
                pytest.fail("entered")
        waiting = asyncio.create_task(create(front, "k"))
        second = asyncio.create_task(create(front, "l"))
        cancelled = asyncio.create_task(create(front, "never"))
        for _ in range(20):
            await asyncio.sleep(0.001)
        cancelled.cancel()
        second.cancel()
        assert not waiting.done()
        let_go.set()
        await waiting
        for task in (second, cancelled):
            with pytest.raises(asyncio.CancelledError):
                await task
        await create(front, "after")
        assert names(front) == {"of the thread", "k", "k too", "after", "after too"}
        thread.join()

    run(tmp_path, work)


def test_a_task_that_is_cancelled_while_a_thread_begins_for_it_lets_the_next_one_in(
    tmp_path: Path,
) -> None:
    async def work(front: AsyncMetaStore) -> None:
        for _ in range(20):
            with front.store.transaction(writable=True) as held:
                task = asyncio.create_task(create(front, "never"))
                await asyncio.sleep(0.002)
                task.cancel()
                held.rollback()
            with pytest.raises(asyncio.CancelledError):
                await task
        await create(front, "k")
        assert names(front) == {"k", "k too"}

    run(tmp_path, work)


class SlowToBegin:
    """A transaction that begins once it may."""

    def __init__(self) -> None:
        self.may_begin = threading.Event()
        self.is_rolled_back = threading.Event()

    def begin(self) -> None:
        assert self.may_begin.wait(20)

    def rollback(self) -> None:
        self.is_rolled_back.set()


def test_what_begins_for_a_task_that_gave_up_is_rolled_back() -> None:
    tx = SlowToBegin()

    async def work() -> bool:
        task = asyncio.create_task(Beginning(cast("Any", tx)).begun())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not tx.is_rolled_back.is_set()
        tx.may_begin.set()
        return await asyncio.to_thread(tx.is_rolled_back.wait, 5)

    assert asyncio.run(work())


class Cancelling:
    """Drives a coroutine and cancels it at its nth await."""

    def __init__(self, at: int) -> None:
        self.at = at

    async def __call__(self, work: Callable[[], Awaitable[Any]]) -> bool:
        """Return whether there was such an await; the coroutine has ended then."""
        task = asyncio.ensure_future(work())
        waits = 0
        while not task.done():
            if waits == self.at:
                task.cancel()
            waits += 1
            await asyncio.sleep(0)
        return task.cancelled()


def test_cancelled_at_any_await_a_transaction_is_done_or_undone(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        done = 0
        for at in range(60):
            key = f"k{at}"
            await Cancelling(at)(lambda key=key: create(front, key, pause=True))  # type: ignore[misc]
            found = names(front) & {key, f"{key} too"}
            assert len(found) in (0, 2)
            done += len(found) == 2
        assert 0 < done < 60
        await create(front, "after")

    run(tmp_path, work)


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_tasks_cancelled_anywhere_leave_each_all_or_nothing(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)

    async def work(front: AsyncMetaStore) -> None:
        async def cancel(task: asyncio.Task[str]) -> None:
            await asyncio.sleep(random.random() * 0.2)
            task.cancel()

        tasks = [asyncio.create_task(create(front, f"{n}", pause=n % 2 == 0)) for n in range(200)]
        await asyncio.gather(*(cancel(task) for task in tasks if random.random() < 0.7))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        found = names(front)
        for number, outcome in enumerate(outcomes):
            both = found & {f"{number}", f"{number} too"}
            assert len(both) in (0, 2)
            if isinstance(outcome, str):
                assert len(both) == 2
            else:
                assert isinstance(outcome, asyncio.CancelledError)
        await create(front, "after")

    run(tmp_path, work)


def test_who_asks_is_stated_by_each_task(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        async def one(number: int) -> None:
            with acting_as(reason=f"{number}", namespace="default"):
                await create(front, f"{number}")
                await front.once(f"r{number}", None, lambda tx: None)

        await asyncio.gather(*(one(n) for n in range(20)))
        for batch in front.store.event_store.batches():
            number = batch.metadata.reason
            assert number in (batch.metadata.actor, f"{batch.metadata.request_id}"[1:])
            assert batch.fields == {"namespace": "default"}

    run(tmp_path, work)


def test_a_request_that_is_made_by_many_tasks_is_carried_out_once(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        def make(tx: Any) -> str:
            made: str = tx.create_snapshot(Kind.ACTIVE, "k").id
            return made

        answers = await asyncio.gather(*(front.once("r", "k", make) for _ in range(50)))
        assert sorted(each.is_repeat for each in answers) == [False] + [True] * 49
        assert {each.result for each in answers} == {"1"}

    run(tmp_path, work)


def test_an_intent_is_undone_if_its_task_is_cancelled_at_any_await(tmp_path: Path) -> None:
    undone: list[Intent] = []

    async def work(front: AsyncMetaStore) -> None:
        async def prepare(key: str) -> None:
            async with front.intent("prepare", key, reserve_id=True) as intent:
                await asyncio.sleep(0)
                async with front.transaction(writable=True) as tx:
                    tx.create_snapshot(Kind.ACTIVE, key, intent=intent)

        for at in range(60):
            key = f"k{at}"
            before = len(undone)
            await Cancelling(at)(lambda key=key: prepare(key))  # type: ignore[misc]
            assert front.store.intents() == ()
            if key in names(front):
                assert len(undone) == before
        assert 0 < len(undone) < 60

    run(tmp_path, work, handlers={"prepare": undone.append})


def test_watch_and_history_are_asynchronous_iterators(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        seen: list[Batch] = []

        async def watch() -> None:
            async for batch in front.watch(1):
                seen.append(batch)
                if len(seen) == 150:
                    return

        watching = asyncio.create_task(watch())
        await create(front, "k")
        for number in range(149):
            async with front.transaction(writable=True) as tx:
                tx.update_info("k", {"n": f"{number}"})
        await watching
        assert [batch.revision for batch in seen] == list(range(1, 151))
        entries = [entry async for entry in front.history("k")]
        assert [entry.revision for entry in entries] == list(range(1, 151))
        newest = [entry.revision async for entry in front.history("k", reverse=True)]
        assert newest == list(range(150, 0, -1))

    run(tmp_path, work)


def test_a_follower_is_read_off_the_loop(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        follower = await AsyncMetaStore.open(front.store.path, read_only=True)
        async with follower:
            await create(front, "k")
            async with follower.transaction() as now:
                assert set(now.id_map().values()) == {"k", "k too"}

    run(tmp_path, work)


def test_an_open_that_fails_raises_and_a_call_gives_what_it_returns(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        with pytest.raises(TypeError):
            await AsyncMetaStore.open(tmp_path / "other", options=5)  # type: ignore[arg-type]
        assert await front.call(front.store.checkpoint) == 0
        await create(front, "k")
        with pytest.raises(AlreadyExistsError):
            await create(front, "k")
        assert isinstance(front.store, MetaStore)

    run(tmp_path, work)


def test_an_open_that_is_cancelled_leaves_the_store_closed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with MetaStore.open(path, options=OPTIONS) as store:
        store.intent("prepare", "k").__enter__()

    async def work() -> None:
        settling, go_on = threading.Event(), threading.Event()

        def settle(intent: Intent) -> None:
            settling.set()
            assert go_on.wait(20)

        handlers = {"prepare": settle}
        opening = asyncio.create_task(AsyncMetaStore.open(path, options=OPTIONS, handlers=handlers))
        await asyncio.to_thread(settling.wait, 20)
        opening.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with await AsyncMetaStore.open(path, options=OPTIONS) as front:
            assert front.store.intents() == ()

    asyncio.run(work())


def test_a_front_that_is_closed_refuses_every_call_as_its_store_does(tmp_path: Path) -> None:
    async def work() -> None:
        front = await AsyncMetaStore.open(tmp_path / "store", options=OPTIONS)
        await front.close()
        await front.close()
        with pytest.raises(StoreClosedError):
            await front.once("r", None, lambda tx: None)
        with pytest.raises(StoreClosedError):
            await front.call(front.store.checkpoint)
        with pytest.raises(StoreClosedError):
            async with front.intent("prepare", "k"):
                pytest.fail("entered")
        with pytest.raises(StoreClosedError):
            [entry async for entry in front.history("k")]

    asyncio.run(work())


def test_a_write_transaction_within_one_of_the_same_task_is_refused(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        async with front.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "outer")
            with pytest.raises(WriterBusyError, match="this task has a write transaction"):
                await create(front, "inner")
            other = asyncio.create_task(create(front, "after"))
            await asyncio.sleep(0)
        await other
        await create(front, "inner")
        assert {"outer", "after", "inner"} <= names(front)

    run(tmp_path, work)


NOT_ASYNCHRONOUS = {
    "create": "a store is made with its first content before a loop runs",
    "restore": "a store is made of a backup before a loop runs",
    "load": "a store is made of a dump before a loop runs",
    "transaction_context": "tasks of one context would share the current transaction",
}
"""What `MetaStore` has and its front has not, and why."""

ASYNCHRONOUS_ONLY = {"call", "store"}


def public_names(of: object) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_")}


def test_the_front_has_all_that_the_store_has_but_what_is_named_here(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        assert public_names(front) - ASYNCHRONOUS_ONLY == (
            public_names(front.store) - NOT_ASYNCHRONOUS.keys()
        )
        assert public_names(front) >= ASYNCHRONOUS_ONLY

    run(tmp_path, work)


@pytest.mark.parametrize("name", sorted(public_names(MetaStore) - NOT_ASYNCHRONOUS.keys()))
def test_the_front_takes_the_same_arguments(name: str) -> None:
    ours, theirs = getattr(AsyncMetaStore, name), getattr(MetaStore, name)
    if isinstance(theirs, property):
        assert isinstance(ours, property)
        return
    given, expected = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    assert given.keys() == expected.keys()
    for parameter in given.values():
        same = expected[parameter.name]
        assert (parameter.kind, parameter.annotation) == (same.kind, same.annotation)
        assert callable(parameter.default) or parameter.default == same.default


def test_a_driver_stages_and_reconciles_in_a_loop(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        with front.staging() as stage:
            found = await front.reconcile([stage])
            assert found.in_flight == {stage: None}
            async with front.transaction(writable=True) as tx:
                made = tx.create_snapshot(Kind.ACTIVE, "k")
                staged = front.stage(tx, "place", "k", {"stage": stage}, id=made.id)
        assert await front.intents() == (staged,)
        assert await front.intents(left_only=True) == ()
        front.finished(staged)
        await front.abort(staged)
        async with front.transaction(writable=True) as tx:
            tx.commit_active("k", "layer", Usage(1, 4096))
        commit = await front.find_commit("k", "layer")
        assert commit is not None
        done = await front.once("r-1", (), lambda tx: tx.remove("layer")[0])
        assert await front.find_request("r-1") == done._replace(is_repeat=True)
        assert await front.settle() == ()

    run(tmp_path, work)


def test_the_past_is_read_in_a_loop(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        await create(front, "k")
        async with front.transaction(writable=True, actor="gc") as tx:
            tx.remove("k")
        assert await front.ids_of("k") == {"1"}
        removal = await front.who_removed("k")
        assert removal is not None
        assert removal.metadata.actor == "gc"
        async with front.at(1) as past:
            assert past.get_info("k")[0] == "1"
        changed = [each.id async for each in front.diff(0, 1)]
        assert sorted(changed) == ["1", "2"]
        assert tx.receipt is not None
        assert (await front.check_receipt(tx.receipt)).revision == 2

    run(tmp_path, work)


def test_a_store_is_kept_in_a_loop(tmp_path: Path) -> None:
    async def work(front: AsyncMetaStore) -> None:
        await create(front, "k")
        assert await front.checkpoint() == 1
        await front.compact()
        await front.check()
        assert (await front.verify()).problems == ()
        report = await front.backup(tmp_path / "backup")
        assert report.revision == 1
        assert b"".join([line async for line in front.dump()]) == b"".join(front.store.dump())
        assert front.stats()["revision"] == 1
        assert (front.path, front.recovery) == (front.store.path, front.store.recovery)
        assert front.event_store is front.store.event_store

    run(tmp_path, work)


def test_async_work_is_refused_in_a_loop_too(tmp_path: Path) -> None:
    async def prepare(tx: object) -> None:
        _ = tx

    async def work(front: AsyncMetaStore) -> None:
        with pytest.raises(TypeError, match="async function"):
            await front.once("r-1", (), prepare)

    run(tmp_path, work)
