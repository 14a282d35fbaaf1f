"""What a signal handler or a finalizer calls works or is refused at once; it never hangs."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import add, balance, open_store, run_python
from support.ledger import ACCOUNTS

from eventstore import (
    Event,
    EventStore,
    Projection,
    ReentrantUseError,
    StoreOptions,
    TableSpec,
    TransactionClosedError,
    WriteTransaction,
)
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import FrameType

    from eventstore import WritableTable


def test_calls_amid_others_are_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 2)
        reader = store.transaction()
        add(store, 20)  # more than a look-up walks, where it finds nothing on its way
        writer = store.transaction(writable=True)
        calls: dict[str, Callable[[], object]] = {
            "begin": writer.begin,
            "stats": store.stats,
            "scan": lambda: list(store.transaction().items(ACCOUNTS)),
            "look-up": lambda: reader.get(ACCOUNTS, "a"),
            "checkpoint": store.checkpoint,
            "compact": store.compact,
            "close": store.close,
        }
        log: Any = store._log
        reader.get(ACCOUNTS, "nobody")
        held = {
            log._writer._sync_lock: ["begin", "close"],
            log._writer._queue_lock: ["begin", "close"],
            store._writer_lock._mutex: ["begin"],
            store._own_upkeep()._turn: ["checkpoint", "compact", "close"],
            store._state.tables[ACCOUNTS]._order._lock: ["scan"],
            reader._view()._folding[os.getpid()]: ["look-up"],
        }
        for lock, names in held.items():
            with lock:
                for name in names:
                    with pytest.raises(ReentrantUseError, match="interrupted"):
                        calls[name]()
        for name, call in calls.items():
            call()
            if name == "begin":
                writer.rollback()


def test_handler_of_a_waiting_writer_is_refused(tmp_path: Path) -> None:
    script = """
import signal, sys, threading, time
from pathlib import Path
from support.engine import add, open_store
from eventstore import WriterBusyError

store = open_store(Path(sys.argv[1]))
begun = threading.Event()

def hold():
    with store.transaction(writable=True):
        begun.set()
        time.sleep(0.5)

def handle(number, frame):
    try:
        add(store, 1)
    except WriterBusyError as error:
        print("waits for" in str(error))

signal.signal(signal.SIGALRM, handle)
thread = threading.Thread(target=hold)
thread.start()
begun.wait()
signal.setitimer(signal.ITIMER_REAL, 0.1)
add(store, 1)
store.close()
"""
    out, err = run_python(script, tmp_path / "store").communicate(timeout=60)
    assert (out, err) == ("True\n", "")


HANDLER = """
import collections, faulthandler, os, random, signal, sys, time
from pathlib import Path
from support.engine import add, balance, open_store
from eventstore import ReentrantUseError, WriterBusyError
from support.ledger import ACCOUNTS

faulthandler.dump_traceback_later(60 + int(sys.argv[2]) // 20, exit=True)
store = open_store(Path(sys.argv[1]))
calls, outcomes, chance = int(sys.argv[2]), collections.Counter(), random.Random(1)
add(store, 1)
committed = 1

def scan():
    with store.transaction() as tx:
        list(tx.items(ACCOUNTS))

def commit():
    global committed
    add(store, 1)
    committed += 1

def handle(number, frame):
    call = chance.choice((commit, scan, store.stats, lambda: balance(store), store.checkpoint))
    try:
        call()
        outcomes["worked"] += 1
    except (ReentrantUseError, WriterBusyError) as error:
        outcomes["refused"] += 1
    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.002))

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.001)
while outcomes.total() < calls:
    add(store, 1)
    committed += 1
    scan()
    store.stats()
signal.setitimer(signal.ITIMER_REAL, 0)
assert balance(store) == committed
assert min(outcomes["worked"], outcomes["refused"]) > 0, outcomes
store.close()
with open_store(Path(sys.argv[1])) as store:
    assert balance(store) == committed
print("done")
"""


def test_signal_handler_that_uses_the_store_never_hangs(
    tmp_path: Path, deep: bool, record_proof: Callable[..., None]
) -> None:
    calls = 20_000 if deep else 300
    out, err = run_python(HANDLER, tmp_path / "store", calls).communicate(timeout=1800)
    assert (out, err) == ("done\n", "")
    record_proof("calls by signal handlers", calls=calls)


# Threads that can't be started


def test_commits_go_on_where_no_thread_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real_start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("eventstore"):
            raise RuntimeError("can't start new thread")
        real_start(thread)

    options = StoreOptions(segment_bytes=4096)
    with open_store(tmp_path / "store", options=options) as store:
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(threading.Thread, "start", refuse)
            add(store, 100)
            assert store.stats()["background_error"] == "can't start new thread"
            assert store.stats()["prepare_error"] == "can't start new thread"
        assert [record.message[:13] for record in caplog.records].count("no background") == 1
        assert len(caplog.records) == 2
        store._own_upkeep()._background._start_again_at = 0.0
        add(store, 1)
        assert store.stats()["background_error"] is None
        assert store.checkpoint() == 101
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 101


def test_store_closes_where_no_thread_could_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    store = open_store(tmp_path / "store", options=StoreOptions(segment_bytes=4096))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        add(store, 1)
        store.close()
    open_store(tmp_path / "store").close()


def test_store_closes_where_two_interrupts_have_ended_the_start_of_its_threads(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path / "store", options=StoreOptions(segment_bytes=4096))
    add(store, 1)
    # The second one comes before the first is handled: the thread is noted, and never started.
    background, preparer = store._own_upkeep()._background, store._log._preparer  # type: ignore[attr-defined]
    background.close()
    background._thread, preparer._thread = threading.Thread(), threading.Thread()
    store.close()
    with open_store(tmp_path / "store") as store:
        assert balance(store) == 1


def test_interrupted_start_of_a_thread_leaves_one_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_start = threading.Thread.start

    def interrupt(thread: threading.Thread) -> None:
        real_start(thread)
        if thread.name.startswith("eventstore"):
            raise KeyboardInterrupt

    store = EventStore.open(tmp_path / "store", [], options=StoreOptions())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.transaction(writable=True).begin()
    with store.transaction(writable=True):
        pass
    thread = store._own_upkeep()._background._thread
    assert thread is not None
    store.close()
    assert not thread.is_alive()


# Forks


def test_inherited_reader_reads_in_the_child_of_a_fork(tmp_path: Path) -> None:
    script = """
import os, signal, sys, threading, warnings
from pathlib import Path
from support.engine import add, open_store
from support.ledger import ACCOUNTS

# Python 3.12 warns of a fork beside threads, which is what is tried here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
store = open_store(Path(sys.argv[1]))
add(store, 3)
stop = threading.Event()
readers = [store.transaction(), store.at(2)]
expected = [list(reader.items(ACCOUNTS)) for reader in readers]

def read():
    while not stop.is_set():
        for reader, rows in zip(readers, expected):
            assert list(reader.items(ACCOUNTS)) == rows
            reader.get(ACCOUNTS, "a")

def write():
    while not stop.is_set():
        add(store, 1)

threads = [threading.Thread(target=work) for work in (read, read, write)]
for thread in threads:
    thread.start()
bad = 0
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        signal.alarm(10)
        found = [list(reader.items(ACCOUNTS)) for reader in readers]
        gotten = [reader.get(ACCOUNTS, "a") for reader in readers]
        os._exit(0 if found == expected else 1)
    bad += os.waitpid(child, 0)[1] != 0
    if bad:
        break
stop.set()
for thread in threads:
    thread.join()
store.close()
print(bad)
"""
    out, err = run_python(script, tmp_path / "store", 60).communicate(timeout=120)
    assert (out, err) == ("0\n", "")


class Meddling(Projection):
    """Puts a row before and after it calls something, once."""

    name, version, tables = "meddling", 1, (TableSpec("rows"),)

    def __init__(self) -> None:
        self.call: Callable[[], object] | None = None
        self.swallows = False
        self.error: Exception | None = None

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        tables["rows"].put(f"{event.type} before", 1)
        call, self.call = self.call, None
        if call is not None:
            try:
                call()
            except ReentrantUseError as error:
                self.error = error
                if not self.swallows:
                    raise
        tables["rows"].put(f"{event.type} after", 1)


def _rows(store: EventStore) -> dict[str, int]:
    with store.transaction() as tx:
        return dict(tx.items("rows"))


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("call", ["commit", "rollback", "emit", "with"])
def test_apply_can_neither_emit_nor_end_the_transaction(
    tmp_path: Path, call: str, swallows: bool
) -> None:
    def enter(tx: WriteTransaction) -> None:
        with tx:
            pass

    calls: dict[str, Callable[[WriteTransaction], object]] = {
        "commit": lambda tx: tx.commit(),
        "rollback": lambda tx: tx.rollback(),
        "emit": lambda tx: tx.emit(Event("nested", 1)),
        "with": enter,
    }
    projection = Meddling()
    projection.swallows = swallows
    with EventStore.open(tmp_path / "store", [projection]) as store:
        with store.transaction(writable=True) as tx:
            tx.emit(Event("first", 1))
            projection.call = lambda: calls[call](tx)
            if swallows:
                tx.emit(Event("second", 1))
            else:
                with pytest.raises(ReentrantUseError, match="in the middle of a change"):
                    tx.emit(Event("second", 1))
            tx.emit(Event("third", 1))
        assert isinstance(projection.error, ReentrantUseError)
        rows = _rows(store)
        types = [event.type for batch in store.batches() for event in batch.events]
        expected = ["first", "second", "third"] if swallows else ["first", "third"]
        assert types == expected
        assert sorted(rows) == [f"{t} {when}" for t in expected for when in ("after", "before")]
    with EventStore.open(tmp_path / "store", [Meddling()]) as store:
        assert _rows(store) == rows


def test_rollback_works_where_an_interrupt_has_left_a_change_open(tmp_path: Path) -> None:
    """Interrupts can come before anything has noted that the change is over."""
    with EventStore.open(tmp_path / "store", [Meddling()]) as store:
        tx = store.transaction(writable=True)
        tx.emit(Event("first", 1))
        tx._is_changing = True
        tx.rollback()
        with store.transaction(writable=True) as tx:
            tx.emit(Event("second", 1))
        assert sorted(_rows(store)) == ["second after", "second before"]


@pytest.mark.parametrize("call", ["commit", "rollback", "emit"])
@pytest.mark.parametrize("amid", ["emit", "commit", "rollback"])
def test_a_handler_amid_a_change_of_its_own_transaction_is_refused(
    tmp_path: Path, amid: str, call: str
) -> None:
    """At every line of the engine, as a signal handler comes; the tables stay those of the log."""
    calls: dict[str, Callable[[WriteTransaction], object]] = {
        "commit": lambda tx: tx.commit(),
        "rollback": lambda tx: tx.rollback(),
        "emit": lambda tx: tx.emit(Event("handler", 1)),
    }
    wrong = []
    store = EventStore.open(
        "/store",
        [Meddling()],
        options=StoreOptions(background=False),
        file_system=SimulatedFileSystem(keep_steps=False),
    )
    for line in range(200):
        tx = store.transaction(writable=True)
        tx.emit(Event(f"{line} first", 1))
        lines = 0

        def trace(
            frame: FrameType, kind: str, _: object, at: int = line, tx: WriteTransaction = tx
        ) -> Any:
            nonlocal lines
            if "/eventstore/" not in frame.f_code.co_filename:
                return None
            if kind == "line":
                lines += 1
                if lines == at:
                    sys.settrace(None)
                    with contextlib.suppress(ReentrantUseError, TransactionClosedError):
                        calls[call](tx)
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            if amid == "emit":
                tx.emit(Event(f"{line} second", 1))
            else:
                calls[amid](tx)
        except TransactionClosedError:
            pass  # it was ended at its first line, before it had begun to change anything
        finally:
            sys.settrace(before)
        if tx._turn is not None and not tx._turn.is_over:
            tx.commit()
        logged = {event.type for batch in store.batches() for event in batch.events}
        expected = {f"{name} {when}" for name in logged for when in ("before", "after")}
        if _rows(store).keys() != expected:
            wrong.append(line)
            break
        if lines < line:
            break
    store.close()
    assert not wrong
