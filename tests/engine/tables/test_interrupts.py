"""An interrupt may come at any line of a change to the tables; what is left is whole.

A tracer raises an error at one line after the other, in the engine's tables and in the sorted
containers below them; of the later lines at a sample, but in the long run at all.
"""

from __future__ import annotations

import linecache
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import add, open_store, run_python
from support.ledger import ACCOUNTS, Account, deposit, open_account

import eventstore.tables
from eventstore import StoreFailedError
from eventstore.format.checkpoint import pack_ends
from eventstore.format.codec import pack
from eventstore.tables.packed import PackedChunk, PackedRows
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from eventstore import EventStore, WriteTransaction

_TABLES = Path(eventstore.tables.__file__).parent
_TRACED = (*(path.name for path in _TABLES.glob("*.py")), "sorteddict.py", "sortedlist.py")


class TimeLimitError(Exception):
    """What a signal handler raises; no OSError, which the engine takes for one of the medium."""


class Interrupter:
    """Raises an error at the nth traced line, once, as a signal handler may."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        self._left = at
        self._error = error

    def __call__(self, frame: FrameType, event: str, arg: object) -> Interrupter | None:
        path = Path(frame.f_code.co_filename)
        if path.name not in _TRACED and frame.f_code.co_name != "emit":
            return None
        line = linecache.getline(str(path), frame.f_lineno).strip()
        # The line of a `with` is passed again when the block ends. A signal is not looked at
        # there before the lock is free.
        if event == "line" and not line.startswith("with "):
            self._left -= 1
            if self._left == 0:
                sys.settrace(None)
                raise self._error
        return self


def change(tx: WriteTransaction) -> None:
    open_account(tx, "b")
    deposit(tx, "b", 5)
    deposit(tx, "a", 7)


def change_and_give_up(store: EventStore) -> None:
    with store.transaction(writable=True) as tx:
        change(tx)
        raise LookupError


def change_and_commit(store: EventStore) -> None:
    with store.transaction(writable=True) as tx:
        change(tx)


def committed_over(before: dict[str, Account]) -> dict[str, Account]:
    """Return what `change_and_commit` leaves of a state."""
    a = before["a"]
    return {
        **before,
        "a": a._replace(balance=a.balance + 7, entries=a.entries + 1),
        "b": Account("", 5, 1),
    }


def change_and_commit_what_there_is(store: EventStore) -> None:
    interrupt: BaseException | None = None
    with store.transaction(writable=True) as tx:
        try:
            change(tx)
        except (KeyboardInterrupt, TimeLimitError) as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def read_all(store: EventStore) -> None:
    with store.transaction() as tx:
        for name in ("a", "b", "c"):
            tx.get(ACCOUNTS, name)
        list(tx.items(ACCOUNTS))


def state_of(store: EventStore) -> dict[str, Any]:
    with store.transaction() as tx:
        listed = list(tx.items(ACCOUNTS))
        found = {key: tx.get(ACCOUNTS, key) for key in "abc"}
    assert dict(listed) == {key: value for key, value in found.items() if value is not None}
    assert len(dict(listed)) == len(listed)
    return dict(listed)


WORKS = [
    change_and_give_up,
    change_and_commit,
    change_and_commit_what_there_is,
    read_all,
]


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeLimitError])
@pytest.mark.parametrize("work", WORKS)
def test_tables_are_whole_wherever_an_interrupt_comes(
    work: Callable[[EventStore], None], error: type[BaseException], deep: bool
) -> None:
    chance = random.Random(f"{work.__name__} {error.__name__}")
    path, memory = Path("/store"), SimulatedFileSystem(keep_steps=False)
    with open_store(path, file_system=memory) as store:
        add(store, 3)
        with store.transaction(writable=True) as tx:
            open_account(tx, "c")
        store.checkpoint()
    at, interrupts, is_interrupted = 0, 0, True
    while is_interrupted:
        at += 1 if deep or at < 30 else chance.randint(1, 9)
        # From the checkpoint: rows are still packed.
        with open_store(path, file_system=memory) as store:
            before = state_of(store) if at % 2 else None  # else nothing is unpacked yet
            try:
                sys.settrace(Interrupter(at, error))
                work(store)
                is_interrupted = False
            except error:
                interrupts += 1
            except LookupError:
                is_interrupted = False
            finally:
                sys.settrace(None)
            after = state_of(store)
            store.check()
            if (
                is_interrupted
                and before is not None
                and work is not change_and_commit_what_there_is
            ):
                # What is durable is shown, whatever became of the thread that has committed it.
                assert after == before or (
                    work is change_and_commit and after == committed_over(before)
                )
            try:
                add(store, 1)
            except StoreFailedError:
                expected = after
            else:
                expected = state_of(store)
                assert expected["a"].balance - after["a"].balance == 1
                store.checkpoint()
        with open_store(path, file_system=memory) as store:
            assert state_of(store) == expected
            assert store.verify().is_sound
    assert interrupts > 20


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeLimitError])
def test_reader_that_was_interrupted_still_sees_its_own_version(
    error: type[BaseException],
) -> None:
    memory = SimulatedFileSystem(keep_steps=False)
    with open_store(Path("/store"), file_system=memory) as store:
        add(store, 3)
        with store.transaction(writable=True) as tx:
            for name in "bcdef":
                open_account(tx, name)
        at, is_interrupted = 0, True
        while is_interrupted:
            at += 1
            with store.transaction() as reader:
                seen = dict(reader.items(ACCOUNTS))
                for name in "bfa":
                    with store.transaction(writable=True) as tx:
                        deposit(tx, name, 1)
                sys.settrace(Interrupter(at, error))
                try:
                    reader.get(ACCOUNTS, "a")
                    is_interrupted = False
                except error:
                    pass
                finally:
                    sys.settrace(None)
                assert dict(reader.items(ACCOUNTS)) == seen
                assert {name: reader.get(ACCOUNTS, name) for name in seen} == seen
        assert at > 20


TWO_INTERRUPTS = """
import os, signal, sys, threading, time
from pathlib import Path
from support.engine import HookedFileSystem, add, open_store
from eventstore import StoreFailedError

# Where a shell has started this in the background, the signal is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
syncing, may_go_on = threading.Event(), threading.Event()

def hook(call, path):
    if call == "sync" and path.endswith(".log") and armed:
        syncing.set()
        may_go_on.wait()

armed = False
store = open_store(Path(sys.argv[1]), file_system=HookedFileSystem(hook))
add(store, 1)
armed = True
outcomes = []

def commit():
    try:
        add(store, 1)
        outcomes.append("committed")
    except StoreFailedError:
        outcomes.append("failed")

first = threading.Thread(target=commit)
first.start()
syncing.wait()

def interrupt_twice():
    while store.stats()["revision"] < 3:  # until the main thread waits for the sync
        time.sleep(0.01)
    for _ in range(2):
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    may_go_on.set()

threading.Thread(target=interrupt_twice).start()
try:
    add(store, 1)
except KeyboardInterrupt:
    outcomes.append("interrupted")
first.join()
later = threading.Thread(target=commit, daemon=True)
later.start()
later.join(20)
store.close()
print(sorted(outcomes))
"""


def test_second_interrupt_during_a_slow_sync_leaves_nobody_waiting(tmp_path: Path) -> None:
    process = run_python(TWO_INTERRUPTS, tmp_path / "store")
    out, err = process.communicate(timeout=60)
    assert (out, err) == ("['committed', 'failed', 'interrupted']\n", "")


def test_rows_are_found_wherever_an_interrupt_ended_the_first_touch_of_their_chunk() -> None:
    keys, values = ["aa", "bb", "cc"], [pack(number) for number in range(3)]
    at, was_interrupted = 0, True
    while was_interrupted:
        at, was_interrupted = at + 1, False
        chunk = PackedChunk(pack("aa"), pack(keys), pack_ends(values), b"".join(values), "", 0)
        rows = PackedRows([chunk], 3, "")
        sys.settrace(Interrupter(at, TimeLimitError))
        try:
            rows.get("bb")
        except TimeLimitError:
            was_interrupted = True
        finally:
            sys.settrace(None)
        assert [rows.get(key) for key in keys] == values
        assert list(rows.rows_at(range(3))) == list(zip(keys, values, strict=True))
    assert at > 10
