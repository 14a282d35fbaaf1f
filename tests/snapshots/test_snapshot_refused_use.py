"""A transaction or a store that can't do what is asked says so, for each of the operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.snapshots import OPTIONS, content, content_of, create_committed, files_of

from eventstore import (
    BatchTooLargeError,
    EventStore,
    EventStoreError,
    InvalidEventError,
    ProjectionError,
    ReadOnlyStoreError,
    StoreClosedError,
    StoreOptions,
    TransactionClosedError,
    WriterBusyError,
)
from projections.snapshots import Kind, MetaStore, NoTransactionError, Usage, storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.snapshots import OpenStore

    from projections.snapshots import SnapshotTransaction

READS: dict[str, Callable[[Any], Any]] = {
    "get_snapshot": lambda tx: tx.get_snapshot("active"),
    "get_info": lambda tx: tx.get_info("base"),
    "walk_info": lambda tx: list(tx.walk_info()),
    "walk_info by name": lambda tx: list(tx.walk_info("name==base")),
    "walk_info by kind": lambda tx: list(tx.walk_info("kind==active")),
    "id_map": lambda tx: tx.id_map(),
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "create_snapshot": lambda tx: tx.create_snapshot(Kind.ACTIVE, "new"),
    "create_snapshot on": lambda tx: tx.create_snapshot(Kind.VIEW, "new", "base"),
    "commit_active": lambda tx: tx.commit_active("active", "new", Usage()),
    "update_info": lambda tx: tx.update_info("base", {"a": "1"}),
    "remove": lambda tx: tx.remove("active"),
}
OPERATIONS = READS | WRITES
each_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
each_write = pytest.mark.parametrize("operation", WRITES.values(), ids=WRITES)


@pytest.fixture
def prepared(store: MetaStore) -> MetaStore:
    with store.transaction(writable=True) as tx:
        create_committed(tx, "base")
        tx.create_snapshot(Kind.ACTIVE, "active", "base")
    return store


@each_operation
@pytest.mark.parametrize("end", ["commit", "rollback", "commit of nothing"])
def test_finished_write_transaction_refuses_every_operation(
    prepared: MetaStore, operation: Callable[[Any], Any], end: str
) -> None:
    tx = prepared.transaction(writable=True)
    if end != "commit of nothing":
        tx.create_snapshot(Kind.ACTIVE, "written")
    tx.rollback() if end == "rollback" else tx.commit()
    before = content_of(prepared)
    with pytest.raises(TransactionClosedError, match="begin another one"):
        operation(tx)
    with pytest.raises(TransactionClosedError, match="begin another one"):
        tx.commit()
    tx.rollback()
    assert content_of(prepared) == before


@each_operation
def test_finished_read_transaction_refuses_every_operation(
    prepared: MetaStore, operation: Callable[[Any], Any]
) -> None:
    with prepared.transaction() as tx:
        pass
    error = TransactionClosedError if operation in READS.values() else ReadOnlyStoreError
    with pytest.raises(error, match="begin"):
        operation(tx)


@pytest.mark.parametrize("writable", [False, True])
@pytest.mark.parametrize("filters", [(), ("kind==active",), ("name==base", "name==other")])
def test_walk_ends_with_its_transaction(
    prepared: MetaStore, writable: bool, filters: tuple[str, ...]
) -> None:
    with prepared.transaction(writable=True) as tx:
        for number in range(200):
            tx.create_snapshot(Kind.ACTIVE, f"{number:03}")
        create_committed(tx, "other")
    transaction: SnapshotTransaction = prepared.transaction(writable=writable)
    with transaction:
        walk = transaction.walk_info(*filters)
        next(walk)
    if writable:
        with pytest.raises(TransactionClosedError):
            list(walk)
    else:
        # Rows of the slice in hand may still come; they are as of the transaction's revision.
        with pytest.raises(TransactionClosedError):
            list(transaction.walk_info(*filters))


@each_write
@pytest.mark.parametrize("past", [False, True], ids=["now", "past"])
def test_read_transaction_refuses_every_write(
    prepared: MetaStore, operation: Callable[[Any], Any], past: bool
) -> None:
    tx = prepared.at(1) if past else prepared.transaction()
    with tx:
        before, revision = content(tx), prepared.stats()["revision"]
        with pytest.raises(ReadOnlyStoreError, match="writable=True"):
            operation(tx)
        with pytest.raises(ReadOnlyStoreError, match="can't be committed"):
            tx.commit()
        assert content(tx) == before
    assert prepared.stats()["revision"] == revision
    assert content_of(prepared) == before


@each_operation
def test_storage_function_without_a_transaction_says_so(operation: Callable[[Any], Any]) -> None:
    with pytest.raises(NoTransactionError, match=r"no transaction in context: .*with store"):
        storage_operation(operation)


def storage_operation(operation: Callable[[Any], Any]) -> Any:
    class Functions:
        """`storage`, with a walk that gives what the method gives."""

        def __getattr__(self, name: str) -> Any:
            return getattr(storage, name)

        def walk_info(self, *filters: str) -> list[Any]:
            found: list[Any] = []
            storage.walk_info(found.append, *filters)
            return found

    return operation(Functions())


@each_operation
def test_storage_function_does_what_the_method_does(
    prepared: MetaStore, operation: Callable[[Any], Any]
) -> None:
    def outcome(run: Callable[[], Any]) -> Any:
        result = run()
        return result._replace(updated_ns=0) if hasattr(result, "updated_ns") else result

    with prepared.transaction_context(writable=True) as tx:
        by_function = outcome(lambda: storage_operation(operation))
        tx.rollback()
    with prepared.transaction(writable=True) as tx:
        by_method = outcome(lambda: operation(tx))
        tx.rollback()
    assert by_function == by_method


USES: dict[str, Callable[[MetaStore], Any]] = {
    "read": lambda store: store.transaction(),
    "write": lambda store: store.transaction(writable=True),
    "read context": lambda store: store.transaction_context().__enter__(),
    "write context": lambda store: store.transaction_context(writable=True).__enter__(),
    "at": lambda store: store.at(1),
    "history": lambda store: store.history("base"),
    "watch": lambda store: store.watch(),
    "checkpoint": lambda store: store.checkpoint(),
    "compact": lambda store: store.compact(),
    "verify": lambda store: store.verify(),
    "check": lambda store: store.check(),
    "stats": lambda store: store.stats(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_closed_store_refuses_every_use(
    prepared: MetaStore, tmp_path: Path, use: Callable[[MetaStore], Any]
) -> None:
    prepared.close()
    files = files_of(tmp_path)
    with pytest.raises(StoreClosedError, match=r"store: the store was closed: open it again"):
        use(prepared)
    prepared.close()
    assert files_of(tmp_path) == files


def test_store_left_by_an_error_does_not_hide_it(open_store: OpenStore) -> None:
    store = open_store()

    def fail() -> None:
        with store:
            begun.append(store.transaction(writable=True))
            raise ZeroDivisionError

    begun: list[SnapshotTransaction] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    begun[0].rollback()


def test_close_with_an_open_write_transaction_of_this_thread_is_refused(
    prepared: MetaStore,
) -> None:
    with prepared.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "kept")
        with pytest.raises(WriterBusyError, match="commit it or roll it back"):
            prepared.close()
    assert "kept" in content_of(prepared)[1].values()


def test_read_transaction_may_outlive_the_store(prepared: MetaStore) -> None:
    expected = content_of(prepared)
    tx = prepared.transaction()
    prepared.close()
    assert content(tx) == expected


# The size of a batch.


def test_batch_over_the_cap_is_refused_and_the_store_goes_on(
    open_store: OpenStore, tmp_path: Path
) -> None:
    options = StoreOptions(segment_bytes=64 * 1024, batch_bytes_max=4096, background=False)
    store = open_store(options=options)
    with store.transaction(writable=True) as tx:
        tx.create_snapshot(Kind.ACTIVE, "kept")
    before, files = content_of(store), files_of(tmp_path)
    tx = store.transaction(writable=True)
    for number in range(100):
        tx.create_snapshot(Kind.ACTIVE, f"{number}")
    with pytest.raises(BatchTooLargeError, match=r"\d{4} bytes.* 4096") as caught:
        tx.commit()
    assert "batch_bytes_max" in str(caught.value), "says what to do"
    assert content_of(store) == before
    assert files_of(tmp_path) == files
    with store.transaction(writable=True) as tx:
        assert tx.create_snapshot(Kind.ACTIVE, "next").id == "2"
    expected = content_of(store)
    store.close()
    assert content_of(open_store(options=options)) == expected


# Who and why.


@pytest.mark.parametrize("part", ["actor", "reason", "request_id"])
@pytest.mark.parametrize("value", [5, b"me", ["me"], "\udcff"], ids=ascii)
@pytest.mark.parametrize("writable", [True])
def test_metadata_that_is_no_text_is_refused_before_any_work(
    prepared: MetaStore, part: str, value: Any, writable: bool
) -> None:
    before = content_of(prepared)
    with pytest.raises(InvalidEventError, match=part):
        prepared.transaction(writable, **{part: value})
    with prepared.transaction(writable=True, timeout=0) as tx:
        assert content(tx) == before, "and the writer lock is free"


@pytest.mark.parametrize("text", ["", "тест 🙂", "x" * 5000, "\0"])
def test_metadata_of_any_text_is_kept(prepared: MetaStore, text: str) -> None:
    with prepared.transaction(writable=True, actor=text, reason=text, request_id=text) as tx:
        tx.remove("active")
    *_, last = prepared.event_store.batches()
    assert {part or "" for part in last.metadata} == {text}


# Opening.


def refused_open(path: Path, error: type[EventStoreError], match: str, **arguments: Any) -> None:
    with pytest.raises(error, match=match) as caught:
        MetaStore.open(path, options=OPTIONS, **arguments)
    assert str(path) in str(caught.value), "says where"


def test_open_makes_parents(tmp_path: Path) -> None:
    with MetaStore.open(tmp_path / "a" / "b" / "c", options=OPTIONS) as store:
        assert content_of(store) == ([], {})
    assert (tmp_path / "a" / "b" / "c" / "wal").is_dir()


def test_open_takes_a_text_and_bytes_and_a_path(tmp_path: Path) -> None:
    for path in (str(tmp_path / "a"), bytes(tmp_path / "b"), tmp_path / "c"):
        with MetaStore.open(path, options=OPTIONS) as store:  # type: ignore[arg-type]
            assert content_of(store) == ([], {})
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a", "b", "c"]


def test_store_may_be_moved(open_store: OpenStore, tmp_path: Path) -> None:
    with open_store() as store, store.transaction(writable=True) as tx:
        create_committed(tx, "base")
        expected = content(tx)
    (tmp_path / "store").rename(tmp_path / "moved")
    assert content_of(open_store("moved")) == expected


def test_a_store_without_the_tables_of_snapshots_is_refused_at_once(tmp_path: Path) -> None:
    with (
        EventStore.open(tmp_path, []) as store,
        pytest.raises(ProjectionError, match="open it with SnapshotsProjection"),
    ):
        MetaStore(store)
