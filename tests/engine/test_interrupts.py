"""An interrupt may come at any line of a change to the tables; what is left is whole.

A tracer raises KeyboardInterrupt at one line after the other, in the engine's tables and in the
sorted containers below them.
"""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from engine_support import add, balance, open_store
from ledger import ACCOUNTS, deposit, open_account

import eventstore.state
from eventstore import StoreFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from eventstore import EventStore, WriteTransaction

_TRACED = (Path(eventstore.state.__file__).name, "sorteddict.py", "sortedlist.py")


class Interrupter:
    """Raises KeyboardInterrupt at the so-manieth traced line, once."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, arg: object) -> Interrupter | None:
        path = Path(frame.f_code.co_filename)
        if path.name not in _TRACED:
            return None
        line = linecache.getline(str(path), frame.f_lineno).strip()
        # The line of a `with` is passed again when the block ends. A signal is not looked at
        # there before the lock is free.
        if event == "line" and not line.startswith("with "):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
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


def read_all(store: EventStore) -> None:
    with store.transaction() as tx:
        for name in ("a", "b", "c"):
            tx.get(ACCOUNTS, name)
        list(tx.items(ACCOUNTS))


def state_of(store: EventStore) -> dict[str, Any]:
    with store.transaction() as tx:
        listed = dict(tx.items(ACCOUNTS))
        assert {key: tx.get(ACCOUNTS, key) for key in "abc"} == {
            key: listed.get(key) for key in "abc"
        }
        assert len(list(tx.items(ACCOUNTS))) == len(listed)
    return listed


@pytest.mark.parametrize("work", [change_and_give_up, change_and_commit, read_all])
def test_tables_are_whole_wherever_an_interrupt_comes(
    tmp_path: Path, work: Callable[[EventStore], None]
) -> None:
    path = tmp_path / "store"
    with open_store(path) as store:
        add(store, 3)
        with store.transaction(writable=True) as tx:
            open_account(tx, "c")
        store.checkpoint()
    at, interrupts, failed = 0, 0, 0
    while True:
        at += 1
        with open_store(path) as store:  # from the checkpoint: rows are still packed
            before = state_of(store) if at % 2 else None  # else nothing is unpacked yet
            try:
                sys.settrace(Interrupter(at))
                work(store)
                was_interrupted = False
            except KeyboardInterrupt:
                was_interrupted = True
                interrupts += 1
            except LookupError:
                was_interrupted = False
            finally:
                sys.settrace(None)
            after = state_of(store)
            store.check()
            if before is not None and was_interrupted:
                assert after == before
            try:
                add(store, 1)
            except StoreFailedError:
                failed += 1
            else:
                assert balance(store) == after["a"].balance + 1
                store.checkpoint()
        with open_store(path) as store:
            assert state_of(store).keys() == after.keys()
            assert store.verify().is_sound
        if not was_interrupted:
            break
        if work is change_and_commit:
            assert "b" not in after
    assert interrupts > 20
    assert failed < interrupts
