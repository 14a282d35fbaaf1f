"""The lock that makes write transactions take turns, and knows who holds it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from eventstore.errors import WriterBusyError

if TYPE_CHECKING:
    from eventstore.event import Metadata


class WriterLock:
    """Held by a write transaction from begin to end."""

    __slots__ = ("_holder", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Thread identity and name, metadata, monotonic time of the begin.
        self._holder: tuple[int, str, Metadata | None, float] | None = None

    def acquire(self, metadata: Metadata | None, timeout_seconds: float | None = None) -> None:
        """Wait for the lock and take it.

        Args:
            metadata: of the transaction; None for the store itself.
            timeout_seconds: how long to wait; None for ever, 0 not at all.

        Raises:
            WriterBusyError: the time is over, or this thread holds the lock already.
        """
        if not self._lock.acquire(blocking=False):
            self._wait(timeout_seconds)
        thread = threading.current_thread()
        self._holder = (threading.get_ident(), thread.name, metadata, time.monotonic())

    def release(self) -> None:
        """Let the next writer begin."""
        self._holder = None
        self._lock.release()

    def _wait(self, timeout_seconds: float | None) -> None:
        holder = self._holder
        if holder is not None and holder[0] == threading.get_ident():
            raise WriterBusyError(
                f"this thread already holds the writer lock, by {self._describe()}: commit it or "
                "roll it back before beginning another one"
            )
        if not self._lock.acquire(timeout=-1 if timeout_seconds is None else timeout_seconds):
            raise WriterBusyError(
                f"the writer lock was not free within {timeout_seconds} s: it is held by "
                f"{self._describe()}"
            )

    def _describe(self) -> str:
        holder = self._holder
        if holder is None:
            return "a transaction that has just ended"
        _, thread_name, metadata, since = holder
        if metadata is None:
            return f"the store itself (thread {thread_name!r})"
        parts = [f"thread {thread_name!r}"]
        parts += [
            f"{name} {value!r}" for name, value in metadata._asdict().items() if value is not None
        ]
        return (
            f"a write transaction ({', '.join(parts)}) begun {time.monotonic() - since:.1f} s ago"
        )
