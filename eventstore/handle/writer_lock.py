"""The lock that makes write transactions take turns, and gets over those that were left.

A holder makes a `Turn`, keeps it, acquires the lock for it and ends it; turns come in the order in
which they were asked for. The lock keeps no more than a weak reference to the holder. A turn is
*gone* when nobody is left to end it, and then whoever waits for the lock ends it and says so in
the log. What a gone holder has changed is undone by the next one, before it begins
(`State.begin`). Gone are:

- a turn that is over, but whose holder was interrupted before it could let the next one in;
- a turn whose holder was collected;
- a turn whose holder's with statement was left without its `__exit__`.

Why the last one: a signal handler may raise when a function begins, when a call has returned and
when a loop starts anew (CPython 3.11 to 3.14). So it may end `__exit__` before its first line, and
the traceback keeps the holder from being collected. But while a with statement is being executed
the interpreter, and nobody else, holds the bound method that it will call at the end. So `__exit__`
is bound anew for each statement, and the holder refers to that weakly: the statement has been left
exactly if the reference is dead. Nothing of this happens before `__enter__` has asked for it: a
holder that is driven by hand is left only by being collected.

For the same reason this module relies on assignments, which nothing interrupts, and makes one
before each call that something might end: `turn.is_over` before the next turn is let in, the next
turn before its gate is opened. Locks are taken by `with` only, where no interrupt can come between
a lock and the block that lets go of it. What an interrupt leaves undone is done by whoever waits,
who looks every so often.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from eventstore.errors import WriterBusyError
from eventstore.locks import refuse_reentry

if TYPE_CHECKING:
    from types import TracebackType

    from eventstore.event import Metadata

_LOOK_SECONDS = 0.2

_logger = logging.getLogger("eventstore")


class _Exit:
    """`__exit__` of a holder: bound anew for each with statement, which alone keeps that alive."""

    def __get__(self, holder: Holder | None, holder_type: type[Holder]) -> Any:
        if holder is None:
            return holder_type._leave
        bound = partial(holder_type._leave, holder)
        holder._bound = weakref.ref(bound)
        return bound


class Holder:
    """What can hold a turn; it may be used in a with statement, which `_enter` begins."""

    __slots__ = ("__weakref__", "_bound", "_statement")

    def __init__(self) -> None:
        # The last `__exit__` that was bound, and that of the with statement.
        self._bound: weakref.ref[partial[None]] | None = None
        self._statement: weakref.ref[partial[None]] | None = None

    @property
    def was_left(self) -> bool:
        """Whether this was begun by a with statement that is no longer being executed."""
        return self._statement is not None and self._statement() is None

    def _enter(self) -> None:
        """Let the with statement that calls this, if one does, decide whether it was left."""
        bound = self._bound
        if bound is not None and bound() is not None:
            self._statement = bound

    def _leave(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do what `__exit__` does."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def __exit__(
            self,
            error_type: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None: ...
    else:
        __exit__ = _Exit()


class Turn:
    """One use of the lock: waited for, had, over.

    Attributes:
        metadata: of the transaction; None for the store itself.
        is_over: set by the holder, before it lets the next one in, and by whoever ends it instead.
    """

    __slots__ = ("_holder", "_since", "_thread", "gate", "is_over", "metadata")

    def __init__(self, holder: Holder, metadata: Metadata | None) -> None:
        self._holder = weakref.ref(holder)
        # The object, since the numbers of threads are used again.
        self._thread = threading.current_thread()
        self._since = time.monotonic()
        self.metadata = metadata
        self.is_over = False
        # Opened when the turn comes; there is none where nobody had to wait.
        self.gate: threading.Lock | None = None

    @property
    def is_gone(self) -> bool:
        """Whether nobody is left to end it."""
        if self.is_over:
            return True
        holder = self._holder()
        return holder is None or holder.was_left

    @property
    def is_of_store(self) -> bool:
        """Whether it is the store's own: it is being closed."""
        return self.metadata is None

    @property
    def is_of_this_thread(self) -> bool:
        """Whether the running thread has asked for it."""
        return self._thread is threading.current_thread()

    def __str__(self) -> str:
        if self.metadata is None:  # as `is_of_store`
            return f"the store itself (thread {self._thread.name!r})"
        parts = [f"thread {self._thread.name!r}"]
        parts += [
            f"{name} {value!r}"
            for name, value in self.metadata._asdict().items()
            if value is not None
        ]
        seconds = time.monotonic() - self._since
        return f"a write transaction ({', '.join(parts)}) begun {seconds:.1f} s ago"


class WriterLock:
    """Held by a write transaction from begin to end."""

    __slots__ = ("_mutex", "_queue", "_turn")

    def __init__(self) -> None:
        # Held while the two others are changed.
        self._mutex = threading.RLock()
        self._turn: Turn | None = None
        self._queue: deque[Turn] = deque()

    def acquire(self, turn: Turn, timeout_seconds: float | None = None) -> None:
        """Wait until a turn comes; whatever this raises, the caller then ends the turn.

        Args:
            turn: a new one.
            timeout_seconds: how long to wait; None for ever, 0 not at all.

        Raises:
            WriterBusyError: the time is over, or this thread has a turn already, or waits for one.
            ReentrantUseError: this was called by what has interrupted the lock itself.
        """
        refuse_reentry(self._mutex)
        with self._mutex:
            if self._turn is None and not self._queue:
                self._turn = turn
                return
        self._wait(turn, timeout_seconds)

    def release(self, turn: Turn) -> None:
        """Let the next turn in, or give up waiting; does nothing the second time.

        The caller sets `turn.is_over` itself before it calls this, so that an interrupt in between
        leaves a turn that is gone.
        """
        with self._mutex:
            if self._turn is turn:
                self._let_next_in()
            elif turn.gate is not None and turn in self._queue:
                self._queue.remove(turn)

    def end_gone(self) -> None:
        """End the turn whose holder is gone, if there is one."""
        with self._mutex:
            turn = self._turn
            if turn is not None and not turn.is_gone:
                return
            was_left = turn is not None and not turn.is_over
            if turn is not None:
                turn.is_over = True
            self._let_next_in()
        if was_left:
            _logger.warning("rolled back what was left without commit or rollback: %s", turn)

    def renew_lock(self) -> None:
        """Replace the lock of the queue, in the child of a fork."""
        self._mutex = threading.RLock()

    def _wait(self, turn: Turn, timeout_seconds: float | None) -> None:
        self.end_gone()
        gate = threading.Lock()
        gate.acquire()
        turn.gate = gate
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        with self._mutex:
            self._require_other_thread(turn)
            self._queue.append(turn)
        seconds = 0.0
        while True:
            # Nobody needs the gate to be closed again.
            gate.acquire(timeout=seconds)
            self.end_gone()
            if self._turn is turn:
                return
            seconds = _LOOK_SECONDS
            if deadline is not None:
                seconds = min(seconds, deadline - time.monotonic())
            if seconds <= 0:
                raise WriterBusyError(
                    f"the writer lock was not free within {timeout_seconds} s: it is held by "
                    f"{self._turn or 'a transaction that has just ended'}"
                )

    def _require_other_thread(self, asking: Turn) -> None:
        """Refuse to wait for the running thread itself; the caller holds the mutex."""
        for turn in filter(None, (self._turn, *self._queue)):
            if turn.is_of_this_thread and not turn.is_gone:
                if asking.is_of_store and not turn.is_of_store:
                    raise WriterBusyError(
                        f"the store is being closed inside a transaction of this thread, {turn}: "
                        "commit it or roll it back, then close the store"
                    )
                does = "holds" if turn is self._turn else "waits for"
                raise WriterBusyError(
                    f"this thread already {does} the writer lock, by {turn}: commit it or roll it "
                    "back before beginning another one"
                )

    def _let_next_in(self) -> None:
        """Give the lock to the first who waits; the caller holds the mutex."""
        queue = self._queue
        while queue and queue[0].is_over:
            queue.popleft()
        if not queue:
            self._turn = None
            return
        turn = self._turn = queue[0]
        queue.popleft()
        if turn.gate is not None:
            turn.gate.release()


class StoreTurn(Holder):
    """A turn of the store itself, for the length of a with statement."""

    __slots__ = ("_lock", "_turn")

    def __init__(self, lock: WriterLock) -> None:
        super().__init__()
        self._lock = lock
        self._turn = Turn(self, None)

    def __enter__(self) -> None:
        self._enter()
        try:
            self._lock.acquire(self._turn)
        except BaseException:
            self._turn.is_over = True
            self._lock.release(self._turn)
            raise

    def _leave(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turn.is_over = True
        self._lock.release(self._turn)
