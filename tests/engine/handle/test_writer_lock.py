"""The writer lock: it is taken late, passed on in order, and never kept by who is gone."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import add, balance, open_store, run_python
from support.ledger import deposit, open_account

from eventstore import TransactionClosedError, WriterBusyError
from eventstore.handle.write_transaction import WriteTransaction
from eventstore.handle.writer_lock import WriterLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from eventstore import EventStore

SECONDS = 10


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with open_store(tmp_path / "store") as store:
        add(store, 1)
        yield store


def in_thread(work: Callable[[], object]) -> Any:
    """Run something in a thread of its own and return what it returns; demand that it ends."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "it waits for ever"
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


class Interrupter:
    """Raises KeyboardInterrupt when a function begins, as a signal handler may."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._code = function.__code__

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if frame.f_code is self._code:
            sys.settrace(None)
            raise KeyboardInterrupt


# When it is taken


def test_transaction_holds_nothing_until_it_is_used(store: EventStore) -> None:
    made = store.transaction(writable=True)
    in_thread(lambda: add(store, 1))
    assert made.revision == 2
    with pytest.raises(WriterBusyError):
        in_thread(store.transaction(writable=True, timeout=0).begin)
    made.rollback()
    store.transaction(writable=True).rollback()


def test_asynchronous_with_statement_leaves_the_lock_free(store: EventStore) -> None:
    async def misuse() -> None:
        async with store.transaction(writable=True):  # type: ignore[attr-defined]
            raise AssertionError

    with pytest.raises(TypeError):
        asyncio.run(misuse())
    in_thread(lambda: add(store, 1))


def test_transaction_can_be_begun_again_after_its_time_was_over(store: EventStore) -> None:
    tx = store.transaction(writable=True, timeout=0)
    with store.transaction(writable=True), pytest.raises(WriterBusyError, match="within 0 s"):
        in_thread(tx.begin)
    open_account(tx, "b")
    tx.commit()
    with pytest.raises(TransactionClosedError), tx:
        pass


def test_transaction_that_ended_unused_is_over(store: EventStore) -> None:
    tx = store.transaction(writable=True)
    tx.rollback()
    with pytest.raises(TransactionClosedError):
        tx.begin()


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf])
def test_negative_timeout_is_refused(store: EventStore, timeout: float, tmp_path: Path) -> None:
    for call in (
        lambda: store.transaction(writable=True, timeout=timeout),
        lambda: store.watch(timeout=timeout),
        lambda: open_store(tmp_path / "other", lock_timeout=timeout),
    ):
        with pytest.raises(ValueError, match=r"timeout can't be .* None waits for ever"):
            call()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("timeout", ["1", True, 1j])
def test_timeout_that_is_no_number_is_refused(store: EventStore, timeout: Any) -> None:
    with pytest.raises(TypeError, match="timeout must be a number"):
        store.transaction(writable=True, timeout=timeout)


@pytest.mark.parametrize("timeout", [10**400, 1e300, math.inf])
def test_endless_timeout_waits_for_as_long_as_it_takes(store: EventStore, timeout: float) -> None:
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction(writable=True):
            begun.set()
            done.wait(0.1)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    with store.transaction(writable=True, timeout=timeout) as tx:
        deposit(tx, "a")
    thread.join()


def test_writers_come_in_the_order_in_which_they_asked(store: EventStore) -> None:
    order: list[int] = []

    def write(number: int) -> None:
        with store.transaction(writable=True):
            order.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(10)]
    with store.transaction(writable=True):
        for number, thread in enumerate(threads):
            thread.start()
            while len(store._writer_lock._queue) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert order == list(range(10))


# Who is gone


def test_dropped_transaction_is_rolled_back_with_a_warning(store: EventStore) -> None:
    tx = store.transaction(writable=True, actor="dropper")
    deposit(tx, "a", 7)
    with pytest.warns(ResourceWarning, match="actor 'dropper'.* was dropped"):
        del tx
    in_thread(lambda: add(store, 1))
    assert balance(store) == 2
    store.check()


def test_dropped_transaction_lets_go_of_the_lock_while_its_warning_is_kept(
    store: EventStore,
) -> None:
    tx = store.transaction(writable=True)
    deposit(tx, "a", 7)
    with warnings.catch_warnings(record=True) as kept:
        warnings.simplefilter("always")
        del tx
        add(store, 1)
    assert [warning.category for warning in kept] == [ResourceWarning]
    assert balance(store) == 2


def test_store_closes_though_a_transaction_was_dropped(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    tx = store.transaction(writable=True)
    open_account(tx, "b")
    with pytest.warns(ResourceWarning):
        del tx
    in_thread(store.close)
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 0


def test_waiting_writer_goes_on_when_the_holder_is_dropped(store: EventStore) -> None:
    held = [store.transaction(writable=True)]
    held[0].begin()
    waiting = threading.Thread(target=add, args=(store, 1), daemon=True)
    waiting.start()
    while not store._writer_lock._queue:
        time.sleep(0.001)
    with pytest.warns(ResourceWarning):
        held.clear()
    waiting.join(SECONDS)
    assert balance(store) == 2


def test_thread_is_not_taken_for_a_dead_one_with_its_number(store: EventStore) -> None:
    kept = store.transaction(writable=True)
    numbers: set[int] = set()

    def begin() -> None:
        kept.begin()
        numbers.add(threading.get_ident())

    in_thread(begin)

    def begin_too() -> str:
        with pytest.raises(WriterBusyError) as caught:
            store.transaction(writable=True, timeout=0).begin()
        return str(caught.value) if threading.get_ident() in numbers else ""

    message = next(filter(None, (in_thread(begin_too) for _ in range(1000))))
    kept.rollback()
    assert "was not free within 0 s" in message


@pytest.mark.parametrize("place", ["exit", "exit of a context"])
def test_statement_left_before_its_exit_is_rolled_back(
    store: EventStore, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    caught: list[KeyboardInterrupt] = []
    used: list[WriteTransaction] = []

    def work() -> None:
        try:
            with store.transaction(writable=True, actor="interrupted") as tx:
                used.append(tx)
                deposit(tx, "a", 7)
                sys.settrace(Interrupter(WriteTransaction._leave))
        except KeyboardInterrupt as error:
            caught.append(error)  # its traceback keeps the transaction
        finally:
            sys.settrace(None)

    work()
    assert caught
    [left] = used
    for use in (lambda: deposit(left, "a"), left.commit, left.begin):
        with pytest.raises(TransactionClosedError):
            use()
    in_thread(lambda: add(store, 1))
    assert "actor 'interrupted'" in caplog.text
    left.rollback()
    assert balance(store) == 2
    store.check()
    assert traceback.format_exception(caught[0])


def test_thread_goes_on_itself_after_a_statement_was_left(store: EventStore) -> None:
    kept: list[object] = []
    for function in (WriterLock.acquire, WriterLock.release, WriteTransaction._leave):
        try:
            with store.transaction(writable=True) as tx:
                pass
            sys.settrace(Interrupter(function))
            with store.transaction(writable=True) as tx:
                kept.append(tx)
        except KeyboardInterrupt as error:
            kept.append(error)
        finally:
            sys.settrace(None)
        assert isinstance(kept[-1], KeyboardInterrupt)
        add(store, 1)
    assert balance(store) == 4


def test_exit_stacks_and_calls_by_hand_hold_the_lock(store: EventStore) -> None:
    with contextlib.ExitStack() as stack:
        tx = stack.enter_context(store.transaction(writable=True))
        deposit(tx, "a")
        with pytest.raises(WriterBusyError):
            in_thread(store.transaction(writable=True, timeout=0.5).begin)
    tx = store.transaction(writable=True)
    assert hasattr(tx, "__exit__")
    tx.__enter__()
    deposit(tx, "a")
    with pytest.raises(WriterBusyError):
        in_thread(store.transaction(writable=True, timeout=0.5).begin)
    tx.__exit__(None, None, None)
    assert balance(store) == 3


INTERRUPTED_LOOP = """
import faulthandler, logging, os, random, signal, sys, threading
from pathlib import Path
from support.engine import add, balance, open_store
from eventstore.testing import SimulatedFileSystem

# An interrupt amid logging may leave the lock of any other handler locked, for all threads.
logging.getLogger("eventstore").addHandler(logging.NullHandler())
logging.getLogger("eventstore").propagate = False
left = 0

def interrupt(number, frame):
    global left
    if left:
        left -= 1
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
rounds, seed = int(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
path, kept = Path("/store"), []
for number in range(rounds):
    if number % 400 == 0:  # a store that is not long to open
        memory = SimulatedFileSystem(keep_steps=False)
    # Where an interrupt may fail the handle, a new one goes on.
    store = open_store(path, file_system=memory)
    before = balance(store)
    acknowledged = 0
    try:
        # More than one, since one that comes in a finalizer is swallowed.
        left, pause = 3, chance.choice((0.0001, 0.001))
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.005), pause)
        while left:
            with store.transaction(writable=True):
                pass
            if chance.random() < 0.2:
                add(store, 1)
                acknowledged += 1
    except KeyboardInterrupt as error:
        left = 0
        kept[:] = [error]  # with its traceback, and so with what it left
    signal.setitimer(signal.ITIMER_REAL, 0)
    outcomes = []

    def go_on():
        try:
            add(store, 1)
            outcomes.append(1)
        except Exception as error:
            outcomes.append(0)
        store.close()
        outcomes.append("closed")

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    thread.join(20)
    if outcomes[-1:] != ["closed"]:
        print("round", number, "hangs:", outcomes, flush=True)
        faulthandler.dump_traceback()
        os._exit(1)
    with open_store(path, file_system=memory) as store:
        found = balance(store) - before - outcomes[0] - acknowledged
        assert found in (0, 1), (found, number)
print("done")
"""


def test_interrupted_loop_of_transactions_leaves_nobody_waiting(
    tmp_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    rounds = 20_000 if deep else 60
    process = run_python(INTERRUPTED_LOOP, rounds, 1)
    out, err = process.communicate(timeout=3600 if deep else 120)
    assert out == "done\n", err
    record_proof("signals amid write transactions", signals=rounds)
