"""Small programs for the tests of the scheduler; some have a bug that needs few switches."""

from __future__ import annotations

import threading
import time


class Counter:
    """A counter that two threads must not increase at once."""

    def __init__(self) -> None:
        self.value = 0

    def increase(self) -> None:
        """Add one, in two steps."""
        value = self.value
        self.value = value + 1


class LockedCounter(Counter):
    """One that they may."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def increase(self) -> None:
        """Add one."""
        with self._lock:
            super().increase()


class Forks:
    """Two locks that are taken in either order."""

    def __init__(self) -> None:
        self.left, self.right = threading.Lock(), threading.Lock()

    def eat(self, *, right_first: bool) -> None:
        """Take both."""
        first, second = (self.right, self.left) if right_first else (self.left, self.right)
        with first, second:
            pass


class Mailbox:
    """One thread sleeps and posts, others wait for it."""

    def __init__(self) -> None:
        self._posted = threading.Event()
        self._changed = threading.Condition()
        self.letters: list[int] = []

    def post(self, letter: int, after_seconds: float) -> None:
        """Post a letter later."""
        time.sleep(after_seconds)
        with self._changed:
            self.letters.append(letter)
            self._changed.notify_all()
        self._posted.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the first letter."""
        return self._posted.wait(timeout)

    def wait_for(self, count: int, timeout: float | None = None) -> bool:
        """Wait for so many letters."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: len(self.letters) >= count, timeout))


def spin(counter: Counter) -> None:
    """Wait in a loop for what another thread has to do."""
    while not counter.value:
        pass
