"""Interrupts anywhere in a transaction, checkpoint, compaction or close leave nobody waiting.

Nothing that was acknowledged is lost.

They come where CPython runs signal handlers: when a function of the engine begins, and when a call
that it makes of a function in C has returned. The first one is raised by a profile function, which
is unset by that; the second one by a trace function, at one of the functions that begin afterwards.
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import add, balance, open_store
from support.ledger import deposit

import eventstore
from eventstore import Retention, StoreClosedError, StoreFailedError, StoreOptions
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from eventstore import EventStore

ENGINE = str(Path(eventstore.__file__).parent)
KIT = str(Path(ENGINE, "testing"))
SECONDS = 20
OPTIONS = StoreOptions(segment_bytes=4096, background=False, retention=Retention(revisions=1))
BIG_NOTE = "n" * 2500
"""A batch with this takes more than half of a segment, so each one rolls."""


class Interrupts:
    """Raises KeyboardInterrupt at the `first` place, and at the `second` beginning after it."""

    def __init__(self, first: int, second: int) -> None:
        self._first, self._second = first, second
        self.places = self._beginnings = 0

    def profile(self, frame: FrameType, event: str, arg: object) -> None:
        if event in ("call", "c_return") and _is_engine(frame):
            self.places += 1
            if self.places == self._first:
                raise KeyboardInterrupt

    def trace(self, frame: FrameType, event: str, arg: object) -> None:
        if self.places >= self._first and event == "call" and _is_engine(frame):
            self._beginnings += 1
            if self._beginnings == self._second:
                raise KeyboardInterrupt

    def __enter__(self) -> None:
        sys.settrace(self.trace)
        sys.setprofile(self.profile)

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)
        sys.settrace(None)


def _is_engine(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return path.startswith(ENGINE) and not path.startswith(KIT)


def commit(store: EventStore) -> None:
    add(store, 1)


def roll_back(store: EventStore) -> None:
    with store.transaction(writable=True) as tx:
        deposit(tx, "a", 100)
        raise LookupError


def look(store: EventStore) -> None:
    with store.transaction(writable=True):
        pass


def commit_with_a_roll(store: EventStore) -> None:
    add(store, 1, BIG_NOTE)


def checkpoint(store: EventStore) -> None:
    store.checkpoint()


def compact(store: EventStore) -> None:
    store.compact()


def close(store: EventStore) -> None:
    store.close()


COMMITS = (commit, commit_with_a_roll)
WORKS: list[Callable[[EventStore], None]] = [*COMMITS, roll_back, look, checkpoint, compact, close]


def interrupted(work: Callable[[EventStore], None], first: int, second: int) -> int:
    """Interrupt some work, demand that others go on, and return how many places it has."""
    path, memory = Path("/store"), SimulatedFileSystem(keep_steps=False)
    store = open_store(path, file_system=memory, options=OPTIONS)
    for _ in range(3):
        store.checkpoint()
        add(store, 1, BIG_NOTE)
    interrupts = Interrupts(first, second)
    kept: list[BaseException] = []
    outcomes: list[object] = []
    try:
        with interrupts:
            work(store)
        outcomes.append("done")
    except (KeyboardInterrupt, LookupError, TypeError) as error:
        # CPython 3.11 at times reports an error of a trace function as a TypeError.
        kept.append(error)  # its traceback keeps what it left

    def go_on() -> None:
        for call in (lambda: add(store, 1), store.close):
            try:
                call()
                outcomes.append(call)
            except (StoreFailedError, StoreClosedError) as error:
                outcomes.append(error)

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), f"{work.__name__}, interrupts at {first} and {second}: it hangs"
    acknowledged: Any = [work in COMMITS and "done" in outcomes, callable(outcomes[-2])]
    with open_store(path, file_system=memory, options=OPTIONS) as store:
        unknown = work in COMMITS and not acknowledged[0]
        assert balance(store) - 3 - sum(acknowledged) in ((0, 1) if unknown else (0,))
        assert store.verify().is_sound
    return interrupts.places


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", WORKS)
def test_interrupts_leave_nobody_waiting_and_lose_nothing(
    work: Callable[[EventStore], None], deep: bool, record_proof: Callable[..., None]
) -> None:
    chance = random.Random(work.__name__)
    places = interrupted(work, 10**9, 0)
    firsts = range(1, places + 1)
    count = 0
    for first in firsts if deep else chance.sample(firsts, min(30, places)):
        for second in (0, *(range(1, 13) if deep else (chance.randint(1, 12),))):
            interrupted(work, first, second)
            count += 1
    record_proof("interrupts in transactions", cases=count)
