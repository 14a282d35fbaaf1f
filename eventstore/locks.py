"""What the engine's locks have in common: who may wait for them, and for how long.

What a signal handler or a finalizer runs has interrupted a thread anywhere, perhaps where that
holds a lock. To wait for it then would be to wait for ever, and to go on without it would find
things half changed. So locks with more than a few assignments inside are reentrant ones, which
know their owner, and whoever is about to take one asks first (`refuse_reentry`).
"""

from __future__ import annotations

import contextlib
import threading

from eventstore.arguments import excerpt
from eventstore.errors import ReentrantUseError


def refuse_reentry(*locks: threading.RLock) -> None:
    """Raise unless the running thread may wait for locks.

    Raises:
        ReentrantUseError: it holds one, so that this was called by what interrupted it.
    """
    for lock in locks:
        if lock._is_owned():  # type: ignore[attr-defined]  # of all of CPython's, also Condition's
            raise ReentrantUseError(
                "the store is being used by the code that this call has interrupted, as a signal "
                "handler or a finalizer does: set a flag there, and use the store after it returns"
            )


def checked_timeout(seconds: float | None, name: str) -> float | None:
    """Return a number of seconds to wait, or None where that is for ever.

    Args:
        seconds: what the user gave.
        name: of the argument, for the message.

    Raises:
        TypeError: it is no number.
        ValueError: it is negative, or not a number of the floating-point ones.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds or None, not {excerpt(seconds)}")
    if not seconds >= 0:
        raise ValueError(
            f"{name} can't be {excerpt(seconds)} seconds: None waits for ever, 0 does not wait"
        )
    return None if seconds > threading.TIMEOUT_MAX else seconds


class Latch:
    """A flag that is set once and can be waited for.

    Unlike `threading.Event` it has no lock inside, so that a signal handler may set it amid a wait.
    """

    __slots__ = ("_gate", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        """Say whether it has been set."""
        return self._is_set

    def set(self) -> None:
        """Let everyone through who waits."""
        self._is_set = True
        self._open()

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, but not for longer; say whether it is."""
        if not self._is_set and self._gate.acquire(timeout=seconds):
            # For the next one. An interrupt before this does no harm: all look at the flag first.
            self._open()
        return self._is_set

    def _open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is open already
            self._gate.release()
