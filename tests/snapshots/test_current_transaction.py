"""The current transaction: which one it is, for whom, and when it ends."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.snapshots import content, content_of, create_committed

from eventstore import ReadOnlyStoreError, TransactionClosedError, WriterBusyError
from projections.snapshots import (
    AlreadyExistsError,
    Info,
    InvalidArgumentError,
    Kind,
    MetaStore,
    NoTransactionError,
    Usage,
    storage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.snapshots import OpenStore


@pytest.fixture(autouse=True)
def no_current_transaction() -> Iterator[None]:
    yield
    with pytest.raises(NoTransactionError):
        storage.id_map()


def test_functions_work_on_the_current_transaction(store: MetaStore) -> None:
    with store.transaction_context(
        writable=True, actor="puller", reason="test", request_id="7"
    ) as tx:
        assert storage.create_snapshot(Kind.ACTIVE, "key", labels={"a": "1"}).id == "1"
        assert tx.get_info("key") == storage.get_info("key")
        assert storage.get_snapshot("key") == tx.get_snapshot("key")
        assert storage.commit_active("key", "name", Usage(1, 2), {"b": "2"}) == "1"
        assert storage.update_info("name", {"c": "3"}, "labels.c").labels == {"b": "2", "c": "3"}
        assert storage.id_map() == {"1": "name"}
        assert storage.create_snapshot(Kind.VIEW, "view", "name").parent_ids == ("1",)
        assert storage.remove("view") == ("2", Kind.VIEW)
        expected = content(tx)
    assert tx.receipt
    assert store.check_receipt(tx.receipt).metadata == ("puller", "test", "7")
    with store.transaction_context():
        assert storage.get_info("name") == expected[0][0]


def test_block_commits_on_success_and_rolls_back_on_error(store: MetaStore) -> None:
    def fail() -> None:
        with store.transaction_context(writable=True):
            storage.create_snapshot(Kind.ACTIVE, "lost")
            raise ZeroDivisionError

    with store.transaction_context(writable=True):
        storage.create_snapshot(Kind.ACTIVE, "kept")
    with pytest.raises(ZeroDivisionError):
        fail()
    assert content_of(store)[1] == {"1": "kept"}


def test_error_of_an_operation_that_is_caught_inside_changes_nothing(store: MetaStore) -> None:
    with store.transaction_context(writable=True):
        storage.create_snapshot(Kind.ACTIVE, "a")
        with pytest.raises(AlreadyExistsError):
            storage.create_snapshot(Kind.ACTIVE, "a")
        storage.create_snapshot(Kind.ACTIVE, "b")
    assert content_of(store)[1] == {"1": "a", "2": "b"}


@pytest.mark.parametrize("writable", [False, True])
def test_error_at_the_begin_leaves_no_current_transaction(store: MetaStore, writable: bool) -> None:
    store.close()
    with pytest.raises(Exception, match="closed"), store.transaction_context(writable):
        pass


def test_transaction_that_ended_inside_its_block_stays_the_current_one(store: MetaStore) -> None:
    with store.transaction_context(writable=True) as tx:
        storage.create_snapshot(Kind.ACTIVE, "kept")
        tx.commit()
        with pytest.raises(TransactionClosedError):
            storage.create_snapshot(Kind.ACTIVE, "late")
    assert content_of(store)[1] == {"1": "kept"}


def test_inner_block_is_current_until_it_ends(store: MetaStore) -> None:
    with store.transaction_context(writable=True):
        storage.create_snapshot(Kind.ACTIVE, "a")
        with store.transaction_context():
            assert storage.id_map() == {}, "what is durable"
            with pytest.raises(ReadOnlyStoreError):
                storage.create_snapshot(Kind.ACTIVE, "b")
        assert storage.id_map() == {"1": "a"}
        with (
            pytest.raises(WriterBusyError, match=r"already holds"),
            store.transaction_context(writable=True),
        ):
            pass
        storage.create_snapshot(Kind.ACTIVE, "c")
    assert content_of(store)[1] == {"1": "a", "2": "c"}


def test_blocks_of_two_stores_nest(open_store: OpenStore) -> None:
    outer, inner = open_store("outer"), open_store("inner")
    with outer.transaction_context(writable=True):
        with inner.transaction_context(writable=True):
            storage.create_snapshot(Kind.ACTIVE, "inner")
        storage.create_snapshot(Kind.ACTIVE, "outer")
    assert content_of(outer)[1] == {"1": "outer"}
    assert content_of(inner)[1] == {"1": "inner"}


# Walks.


def test_walk_calls_with_each_match_in_order(store: MetaStore) -> None:
    with store.transaction_context(writable=True) as tx:
        for name in ("c", "a", "b"):
            create_committed(tx, name)
        found: list[Info] = []
        assert storage.walk_info(found.append) is None  # type: ignore[func-returns-value]
        assert found == list(tx.walk_info())
        found.clear()
        storage.walk_info(found.append, "name==c", "name==a")
        assert [info.name for info in found] == ["a", "c"]


def test_error_of_the_function_ends_the_walk_and_comes_out(store: MetaStore) -> None:
    called = []

    def fail_at_second(info: Info) -> None:
        called.append(info.name)
        if len(called) == 2:
            raise ZeroDivisionError("mine")

    with store.transaction_context(writable=True) as tx:
        for name in "abcd":
            create_committed(tx, name)
        with pytest.raises(ZeroDivisionError, match="mine"):
            storage.walk_info(fail_at_second)
        assert called == ["a", "b"]
        storage.create_snapshot(Kind.ACTIVE, "e")
    assert len(content_of(store)[1]) == 5


def test_bad_filter_calls_nothing(store: MetaStore) -> None:
    with store.transaction_context(writable=True) as tx:
        create_committed(tx, "a")
        with pytest.raises(InvalidArgumentError, match="position 5"):
            storage.walk_info(lambda info: pytest.fail(f"called with {info}"), "name", "name,")


def test_function_may_use_the_current_transaction(store: MetaStore) -> None:
    with store.transaction_context(writable=True) as tx:
        for name in "abcd":
            create_committed(tx, name, labels={"old": "1"})
        storage.walk_info(lambda info: storage.remove(info.name), "labels.old==1")
        assert storage.id_map() == {}


# Threads and tasks.


def test_other_threads_have_no_part_in_it(store: MetaStore) -> None:
    with store.transaction_context(writable=True), ThreadPoolExecutor(1) as pool:
        storage.create_snapshot(Kind.ACTIVE, "mine")
        with pytest.raises(NoTransactionError):
            pool.submit(storage.id_map).result()

        def read_in_another_thread() -> dict[str, str]:
            with store.transaction_context():
                return storage.id_map()

        assert pool.submit(read_in_another_thread).result() == {}
        assert storage.id_map() == {"1": "mine"}


def test_context_that_was_copied_has_its_transaction_until_that_ends(store: MetaStore) -> None:
    with store.transaction_context(writable=True):
        storage.create_snapshot(Kind.ACTIVE, "mine")
        copied = contextvars.copy_context()
        assert copied.run(storage.id_map) == {"1": "mine"}
    with pytest.raises(TransactionClosedError):
        copied.run(storage.id_map)


def test_tasks_have_their_own(store: MetaStore) -> None:
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "base")

    async def read(turns: int) -> int:
        with store.transaction_context() as mine:
            for _ in range(turns):
                await asyncio.sleep(0)
                assert storage.id_map() == mine.id_map() == {"1": "base"}
        with pytest.raises(NoTransactionError):
            storage.id_map()
        return turns

    async def write() -> None:
        with store.transaction_context(writable=True):
            storage.create_snapshot(Kind.ACTIVE, "more")
            for _ in range(5):
                await asyncio.sleep(0)
                assert set(storage.id_map()) == {"1", "2"}

    async def all_tasks() -> list[int | None]:
        return list(await asyncio.gather(read(3), write(), read(9), read(1)))

    assert asyncio.run(all_tasks()) == [3, None, 9, 1]


def test_second_writing_task_of_a_thread_is_refused_and_does_not_hang(store: MetaStore) -> None:
    async def write(key: str) -> None:
        with store.transaction_context(writable=True, actor=key):
            storage.create_snapshot(Kind.ACTIVE, key)
            await asyncio.sleep(0)

    async def both() -> list[BaseException | None]:
        return list(await asyncio.gather(write("a"), write("b"), return_exceptions=True))

    first, second = asyncio.run(both())
    assert first is None
    assert isinstance(second, WriterBusyError)
    assert "actor 'a'" in str(second)
    assert content_of(store)[1] == {"1": "a"}


# Waiting for the writer lock.


@pytest.mark.parametrize("context", [False, True])
def test_timeout_bounds_the_wait_and_names_the_holder(store: MetaStore, context: bool) -> None:
    def wait() -> None:
        if context:
            with store.transaction_context(writable=True, timeout=0.05):
                pass
        else:
            store.transaction(writable=True, timeout=0.05).begin()

    with (
        store.transaction(writable=True, actor="puller", reason="unpack web:1.4", request_id="r7"),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(WriterBusyError) as caught,
    ):
        pool.submit(wait).result(10)
    message = str(caught.value)
    for part in ("0.05 s", "'MainThread'", "'puller'", "'unpack web:1.4'", "'r7'", "s ago"):
        assert part in message


def test_timeout_of_zero_does_not_wait(store: MetaStore) -> None:
    with store.transaction(writable=True, timeout=0):
        with ThreadPoolExecutor(1) as pool, pytest.raises(WriterBusyError):
            pool.submit(store.transaction(writable=True, timeout=0).begin).result(10)
        with store.transaction(timeout=0) as reader:
            assert content(reader) == ([], {})


def test_second_write_transaction_of_a_thread_is_refused_at_once(store: MetaStore) -> None:
    with store.transaction(writable=True, actor="me") as tx:
        for timeout in (None, 0, 1000):
            with pytest.raises(WriterBusyError, match=r"already holds .*'me'.* commit it or roll"):
                store.transaction(writable=True, timeout=timeout).begin()
        create_committed(tx, "a")
    with store.transaction(writable=True, timeout=0):
        pass


def test_waiting_writers_all_get_their_turn(store: MetaStore) -> None:
    def write(number: int) -> None:
        with store.transaction_context(writable=True, timeout=20):
            for key in list(storage.id_map().values()):
                storage.remove(key)
            storage.create_snapshot(Kind.ACTIVE, f"{number}")

    tx = store.transaction(writable=True)
    tx.begin()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    tx.rollback()
    for thread in threads:
        thread.join(20)
    assert list(content_of(store)[1]) == ["20"]
    assert store.stats()["revision"] == 20
