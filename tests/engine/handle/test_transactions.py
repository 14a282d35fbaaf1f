"""Transactions: isolation, rollback, the writer lock, receipts, ends of life."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, HookedFileSystem, add, balance, open_store, tree
from support.ledger import (
    ACCOUNTS,
    TOTALS,
    Account,
    Ledger,
    balances,
    close_account,
    deposit,
    open_account,
    total,
    transfer,
)

from eventstore import (
    BatchTooLargeError,
    Event,
    EventStore,
    ProjectionError,
    ReadOnlyStoreError,
    Receipt,
    ReceiptError,
    Retention,
    StoreClosedError,
    StoreFailedError,
    StoreLockedError,
    StoreOptions,
    TransactionClosedError,
    WriterBusyError,
    WriteTransaction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with open_store(tmp_path / "store") as store:
        yield store


def test_old_reader_keeps_its_revision_whatever_goes_on(store: EventStore) -> None:
    add(store, 50)
    reader = store.transaction()
    scan = iter(reader.items(ACCOUNTS))
    for round_number in range(4):
        for number in range(20):
            with store.transaction(writable=True) as tx:
                open_account(tx, f"b{round_number}-{number}")
                deposit(tx, "a", 5)
        store.checkpoint()
        store.compact()
        assert reader.revision == 50
        assert balances(reader) == {"a": 50}
        assert total(reader) == 50
    assert list(scan) == [("a", Account("", 50, 50))]
    assert len(balances(store.transaction())) == 81


def test_reader_never_sees_what_is_not_committed(store: EventStore) -> None:
    add(store, 3)
    with store.transaction(writable=True) as tx:
        deposit(tx, "a", 100)
        open_account(tx, "b")
        with store.transaction() as reader:
            assert balances(reader) == {"a": 3}
            assert reader.get(ACCOUNTS, "b") is None
        tx.rollback()
    assert balance(store) == 3


def test_writer_reads_its_own_writes(store: EventStore) -> None:
    with store.transaction(writable=True) as tx:
        open_account(tx, "a", "Ann")
        open_account(tx, "b", "Bob")
        deposit(tx, "a", 10)
        transfer(tx, "a", "b", 4)
        assert tx.get(ACCOUNTS, "a") == Account("Ann", 6, 2)
        assert tx.table(ACCOUNTS)["b"] == Account("Bob", 4, 1)
        assert list(tx.items(ACCOUNTS, "b")) == [("b", Account("Bob", 4, 1))]
        close_account(tx, "b")
        assert "b" not in tx.table(ACCOUNTS)
        assert tx.revision == 0
    assert balances(store.transaction()) == {"a": 6}


def test_rollback_puts_everything_back(store: EventStore) -> None:
    add(store, 2)
    for _ in range(3):
        tx = store.transaction(writable=True)
        deposit(tx, "a", 7)
        open_account(tx, "b")
        transfer(tx, "a", "b", 9)
        close_account(tx, "a")
        tx.rollback()
        tx.rollback()  # does nothing the second time
        assert tx.receipt is None
        assert balances(store.transaction()) == {"a": 2}
        store.check()
    add(store, 1)
    assert [batch.revision for batch in store.batches()] == [1, 2, 3]


def test_error_inside_with_rolls_back(store: EventStore) -> None:
    add(store, 1)

    def fail(error_type: type[BaseException]) -> None:
        with store.transaction(writable=True) as tx:
            deposit(tx, "a", 7)
            raise error_type

    for error_type in (ZeroDivisionError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error_type):
            fail(error_type)
        assert balance(store) == 1
    add(store, 1)
    assert balance(store) == 2


def test_operation_that_its_domain_refuses_changes_nothing(store: EventStore) -> None:
    with store.transaction(writable=True) as tx:
        open_account(tx, "a")
        open_account(tx, "b")
        deposit(tx, "a", 5)
        with pytest.raises(ValueError, match="less than 6"):
            transfer(tx, "a", "b", 6)
        transfer(tx, "a", "b", 5)
    assert balances(store.transaction()) == {"a": 0, "b": 5}


def test_apply_that_raises_is_undone_in_every_projection(tmp_path: Path) -> None:
    class Late(Ledger):
        """Raises after the projection before it has changed its tables."""

        name = "late"
        tables: Any = ()

        def apply(self, event: Event, tables: object) -> None:
            if event.type == "money.transferred" and event.data["amount"] == 13:
                raise ArithmeticError("thirteen")

    with EventStore.open(tmp_path / "store", [Ledger(), Late()], options=SMALL) as store:
        with store.transaction(writable=True) as tx:
            open_account(tx, "a")
            open_account(tx, "b")
            deposit(tx, "a", 50)
            with pytest.raises(ArithmeticError):
                transfer(tx, "a", "b", 13)
            assert balances(tx) == {"a": 50, "b": 0}
            with pytest.raises(KeyError):
                deposit(tx, "nobody", 1)
            transfer(tx, "a", "b", 12)
        assert [event.type for batch in store.batches() for event in batch.events] == [
            "account.opened",
            "account.opened",
            "money.deposited",
            "money.transferred",
        ]
    with EventStore.open(tmp_path / "store", [Ledger(), Late()], options=SMALL) as store:
        assert balances(store.transaction()) == {"a": 38, "b": 12}


def test_iteration_goes_on_while_rows_change(store: EventStore) -> None:
    names = [f"{number:03}" for number in range(300)]
    with store.transaction(writable=True) as tx:
        for name in names:
            open_account(tx, name)
    seen = []
    with store.transaction(writable=True) as tx:
        for name, _ in tx.items(ACCOUNTS):
            seen.append(name)
            close_account(tx, name)
            open_account(tx, "x" + name) if len(seen) % 7 == 0 else None
    assert [name for name in seen if not name.startswith("x")] == names
    reader = store.transaction()
    for name, _ in reader.items(ACCOUNTS):
        with store.transaction(writable=True) as tx:
            close_account(tx, name)
    assert balances(store.transaction()) == {}


def test_rows_come_from_the_end_without_those_before_them(tmp_path: Path) -> None:
    names = [f"{number:03}" for number in range(300)]
    with open_store(tmp_path / "store") as store, store.transaction(writable=True) as tx:
        for name in names:
            open_account(tx, name)
    with open_store(tmp_path / "store") as store:
        with store.transaction(writable=True) as tx:
            close_account(tx, "299")
            open_account(tx, "1505")
            expected = sorted({*names, "1505"} - {"299"}, reverse=True)
            own = tx.items(ACCOUNTS, reverse=True)
            assert [name for name, _ in own] == expected
        decoded: list[str] = []
        for writable in (False, True):
            with store.transaction(writable=writable) as tx:
                for start, stop in ((None, None), ("1", "2"), ("1505", "152"), ("3", None)):
                    rows = list(tx.items(ACCOUNTS, start, stop))
                    assert list(tx.items(ACCOUNTS, start, stop, reverse=True)) == rows[::-1]
        with store.transaction() as reader:
            rows_back = reader.items(
                ACCOUNTS, decode=lambda name, plain: decoded.append(name), reverse=True
            )
            assert next(rows_back)[0] == "298"
            assert len(decoded) <= 16


def test_transaction_without_events_writes_nothing(tmp_path: Path) -> None:
    calls: list[str] = []
    path = tmp_path / "store"
    with open_store(
        path, file_system=HookedFileSystem(lambda call, _: calls.append(call))
    ) as store:
        add(store, 1)
        before = tree(path)
        calls.clear()
        with store.transaction(writable=True) as tx:
            assert tx.get(ACCOUNTS, "a").balance == 1
        assert tx.receipt is None
        with store.transaction(writable=True) as tx:
            assert tx.commit() is None
        assert calls == []
        assert tree(path) == before
    assert sum(1 for _ in open_and_close(path)) == 1


def open_and_close(path: Path) -> list[object]:
    with open_store(path) as store:
        return list(store.batches())


def test_nested_write_on_the_same_thread_is_refused_at_once(store: EventStore) -> None:
    with store.transaction(writable=True, actor="outer", reason="test") as tx:
        start = time.monotonic()
        with pytest.raises(WriterBusyError, match=r"this thread already holds.*actor 'outer'"):
            store.transaction(writable=True).begin()
        with pytest.raises(StoreLockedError), store.transaction(writable=True, timeout=30):
            raise AssertionError
        assert time.monotonic() - start < 1
        open_account(tx, "a")
    assert balances(store.transaction()) == {"a": 0}


def test_timeout_names_the_holder(store: EventStore) -> None:
    errors: list[Exception] = []

    def wait() -> None:
        for timeout in (0, 0.05):
            try:
                store.transaction(writable=True, timeout=timeout).begin()
            except WriterBusyError as error:
                errors.append(error)

    with store.transaction(writable=True, actor="puller", reason="unpack", request_id="r-1"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert len(errors) == 2
    for text in ("MainThread", "actor 'puller'", "reason 'unpack'", "request_id 'r-1'", "s ago"):
        assert text in str(errors[1])
    with store.transaction(writable=True, timeout=0) as tx:
        open_account(tx, "a")


def test_waiting_writer_gets_its_turn(store: EventStore) -> None:
    add(store, 1)
    started = threading.Event()

    def write() -> None:
        started.set()
        add(store, 1)

    with store.transaction(writable=True) as tx:
        thread = threading.Thread(target=write)
        thread.start()
        started.wait()
        deposit(tx, "a", 10)
    thread.join()
    assert balance(store) == 12


USES: dict[str, Callable[[WriteTransaction], object]] = {
    "get": lambda tx: tx.get(ACCOUNTS, "a"),
    "items": lambda tx: tx.items(ACCOUNTS),
    "table": lambda tx: tx.table(ACCOUNTS),
    "emit": lambda tx: deposit(tx, "a"),
    "commit": lambda tx: tx.commit(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_use_after_the_end_is_refused(
    store: EventStore, use: Callable[[WriteTransaction], object], end: str
) -> None:
    add(store, 1)
    tx = store.transaction(writable=True)
    deposit(tx, "a")
    getattr(tx, end)()
    with pytest.raises(TransactionClosedError):
        use(tx)
    assert balance(store) == (2 if end == "commit" else 1)


def test_table_taken_from_a_transaction_ends_with_it(store: EventStore) -> None:
    add(store, 1)
    tx = store.transaction(writable=True)
    table, scan = tx.table(ACCOUNTS), tx.items(ACCOUNTS)
    tx.rollback()
    reader = store.transaction()
    read_table = reader.table(ACCOUNTS)
    reader.rollback()
    with store.transaction(writable=True) as later:
        open_account(later, "not committed")
        for ended in (table, read_table):
            with pytest.raises(TransactionClosedError):
                ended.get("not committed")
            with pytest.raises(TransactionClosedError):
                ended["a"]
            with pytest.raises(TransactionClosedError):
                "a" in ended  # noqa: B015
            with pytest.raises(TransactionClosedError):
                list(ended.items())
        with pytest.raises(TransactionClosedError):
            next(scan)


def test_table_can_not_be_changed_by_hand(store: EventStore) -> None:
    add(store, 1)
    with store.transaction(writable=True) as tx:
        table = tx.table(ACCOUNTS)
        with pytest.raises(AttributeError):
            table.put("a", Account("", 1_000_000))  # type: ignore[attr-defined]
    assert balance(store) == 1


def test_table_that_no_projection_has_is_refused(store: EventStore) -> None:
    for tx in (store.transaction(), store.transaction(writable=True)):
        with tx, pytest.raises(ProjectionError, match=r"no table 'nothing'.*accounts, totals"):
            tx.table("nothing")


def test_read_transaction_can_not_write_or_commit(store: EventStore) -> None:
    with store.transaction() as tx:
        assert not hasattr(tx, "emit")
        with pytest.raises(ReadOnlyStoreError):
            tx.commit()
        tx.rollback()
        with pytest.raises(TransactionClosedError):
            tx.get(ACCOUNTS, "a")
        with pytest.raises(TransactionClosedError):
            tx.items(ACCOUNTS)


def test_closed_store_is_not_used(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    add(store, 1)
    reader = store.transaction()
    store.close()
    store.close()  # does nothing the second time
    calls: list[Callable[[], object]] = [
        store.transaction,
        lambda: store.transaction(writable=True),
        store.checkpoint,
        store.compact,
        store.batches,
        store.watch,
        store.stats,
        store.verify,
        store.check,
        store.oldest_revision,
        lambda: store.at(1),
        lambda: store.check_receipt(Receipt(store.store_id, 1, bytes(32))),
    ]
    for call in calls:
        with pytest.raises(StoreClosedError, match="closed"):
            call()
    assert balances(reader) == {"a": 1}


def test_store_is_not_closed_under_a_write_transaction_of_the_same_thread(
    store: EventStore,
) -> None:
    tx = store.transaction(writable=True)
    tx.begin()
    says = "being closed inside a transaction of this thread, a write transaction .*then close"
    with pytest.raises(WriterBusyError, match=says):
        store.close()
    with pytest.raises(WriterBusyError, match="back before beginning another one"):
        store.transaction(writable=True).begin()
    open_account(tx, "a")
    tx.commit()
    assert balances(store.transaction()) == {"a": 0}


def test_writer_that_waits_while_the_store_closes_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    tx = store.transaction(writable=True)
    tx.begin()
    errors: list[Exception] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(call,))
        for call in (store.close, store.transaction(writable=True).begin)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    open_account(tx, "a")
    tx.commit()
    for thread in threads:
        thread.join()
    assert all(isinstance(error, StoreClosedError) for error in errors)
    with open_store(tmp_path / "store") as store:
        assert balances(store.transaction()) == {"a": 0}


def test_receipt_is_checked_later(store: EventStore, tmp_path: Path) -> None:
    receipts = add(store, 3)
    assert [receipt.revision for receipt in receipts] == [1, 2, 3]
    for receipt in receipts:
        assert receipt.store_id == store.store_id
        assert Receipt.parse(str(receipt)) == receipt
        assert store.check_receipt(receipt).digest == receipt.digest
    altered = receipts[1]._replace(digest=receipts[2].digest)
    with pytest.raises(ReceiptError, match="another digest"):
        store.check_receipt(altered)
    for revision in (0, -1, 4):
        with pytest.raises(ReceiptError, match="not there"):
            store.check_receipt(receipts[0]._replace(revision=revision))
    with open_store(tmp_path / "other") as other:
        add(other, 3)
        with pytest.raises(ReceiptError, match="another store"):
            other.check_receipt(receipts[0])


@pytest.mark.parametrize(
    "text",
    [
        *("", "zz", "a:b", "zz:1:00", "00:one:00", "00:1:0", "00:1:00:00"),
        *(f"{'0' * 32}:{number}:{'0' * 64}" for number in ("0", "-1", "1_0", "٣", "1" * 5000)),
        *(f"{'0' * 31}:1:{'0' * 64}", f"{'0' * 32}:1:{'0' * 66}", f"{'0' * 32}:1:{'0' * 64}\n"),
    ],
)
def test_text_that_is_no_receipt_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a receipt: .*STORE-ID:REVISION:DIGEST"):
        Receipt.parse(text)


@pytest.mark.parametrize("clock_ns", [-(10**18), 2**63 - 1])
def test_any_clock_makes_a_store_that_can_be_read(
    tmp_path: Path, clock_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: clock_ns)
    options = StoreOptions(segment_bytes=4096, background=False, retention=Retention(age_seconds=5))
    for count in (60, 1):
        with open_store(tmp_path / "store", options=options) as store:
            add(store, count)
            store.compact()
    with open_store(tmp_path / "store") as store:
        assert [batch.time_ns for batch in store.batches(61)] == [max(clock_ns, 0)]
        assert store.verify().is_sound


def test_batch_over_the_cap_is_rolled_back_and_the_store_goes_on(tmp_path: Path) -> None:
    options = dataclasses.replace(SMALL, batch_bytes_max=4096)
    with open_store(tmp_path / "store", options=options) as store:
        add(store, 1)
        tx = store.transaction(writable=True)
        deposit(tx, "a", 5, note="x" * 5000)
        with pytest.raises(BatchTooLargeError, match="4096"):
            tx.commit()
        tx.rollback()
        assert balance(store) == 1
        tx = store.transaction(writable=True)
        for _ in range(200):
            deposit(tx, "a", 5)
        with pytest.raises(BatchTooLargeError), tx:
            pass
        assert balance(store) == 1
        add(store, 1, note="x" * 4000)
    # A higher cap holds from the next segment on, which is started for it.
    with open_store(tmp_path / "store") as store:
        add(store, 1, note="x" * 5000)
    with open_store(tmp_path / "store", options=options) as store:
        assert balance(store) == 3
        with pytest.raises(BatchTooLargeError):
            add(store, 1, note="x" * 5000)


def test_metadata_and_time_are_kept(store: EventStore) -> None:
    before = time.time_ns()
    with store.transaction(True, actor="me", reason="why", request_id="42") as tx:
        open_account(tx, "a")
    [batch] = store.batches()
    assert batch.metadata == ("me", "why", "42")
    assert before <= batch.time_ns <= time.time_ns()


def test_clock_that_goes_back_does_not_take_the_log_along(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([5000, 3000, 4000, 6000])
    real = time.time_ns()
    monkeypatch.setattr("time.time_ns", lambda: real + next(clock))
    add(store, 4)
    assert [batch.time_ns - real for batch in store.batches()] == [5000, 5000, 5000, 6000]


def test_interrupted_sync_fails_the_handle_and_loses_nothing(tmp_path: Path) -> None:
    interrupt = False

    def hook(call: str, path: str) -> None:
        if interrupt and call == "sync" and path.endswith(".log"):
            raise KeyboardInterrupt

    store = open_store(tmp_path / "store", file_system=HookedFileSystem(hook))
    add(store, 3)
    interrupt = True
    with pytest.raises(KeyboardInterrupt):
        add(store, 1)
    interrupt = False
    assert balance(store) == 3
    with pytest.raises(StoreFailedError):
        add(store, 1)
    store.close()
    with open_store(tmp_path / "store") as store:
        assert balance(store) in (3, 4)


def test_two_projections_change_by_one_batch_or_not_at_all(store: EventStore) -> None:
    stop = threading.Event()
    problems: list[object] = []

    def read() -> None:
        while not stop.is_set():
            with store.transaction() as tx:
                if sum(balances(tx).values()) != total(tx):
                    problems.append((balances(tx), total(tx)))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    with store.transaction(writable=True) as tx:
        open_account(tx, "a")
        open_account(tx, "b")
    for amount in range(1, 150):
        tx = store.transaction(writable=True)
        deposit(tx, "a", amount)
        transfer(tx, "a", "b", 1)
        if amount % 3 == 0:
            tx.rollback()
        else:
            tx.commit()
    stop.set()
    for thread in readers:
        thread.join()
    assert problems == []
    expected = sum(amount for amount in range(1, 150) if amount % 3)
    with store.transaction() as reader:
        assert (sum(balances(reader).values()), total(reader)) == (expected, expected)
        assert reader.table(TOTALS)["largest"] == 149
