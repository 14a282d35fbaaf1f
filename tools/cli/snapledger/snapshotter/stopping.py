"""SIGTERM and SIGINT: they end a start where it is, and later the waiting for them."""

from __future__ import annotations

import signal
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class Stop:
    """Hears both signals from now on; one a process, made by the main thread."""

    def __init__(self) -> None:
        # An Event could be asked for while this thread holds its lock: a queue of this kind can't.
        self._asked: SimpleQueue[int] = SimpleQueue()
        self._interrupts = True
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def interrupts_no_more(self) -> None:
        """Raise nothing any more: whoever serves asks `is_asked`, and ends with care."""
        self._interrupts = False

    def is_asked(self, seconds: float) -> bool:
        """Wait so long for a signal; return whether one has come, since the beginning."""
        try:
            self._asked.put(self._asked.get(timeout=seconds))
        except Empty:
            return False
        return True

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Note the signal; the first one of a start raises, and no second one its clean-up."""
        _ = frame
        self._asked.put(number)
        if self._interrupts:
            self._interrupts = False
            raise KeyboardInterrupt
