"""The thread that makes spare segments ahead of need, off the way of a commit."""

from __future__ import annotations

import logging
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from eventstore.errors import StorageFullError
from eventstore.locks import Latch

if TYPE_CHECKING:
    from eventstore.log.spares import SpareKeeper

_PREPARE_PAUSE_SECONDS = 0.002
_START_AGAIN_SECONDS = 1.0

_logger = logging.getLogger("eventstore")


class Preparer:
    """The thread that makes spare segments when it is asked to; it starts when first asked.

    Where none can be started, whoever needs a spare makes it, and the next request tries again.
    """

    def __init__(self, spares: SpareKeeper) -> None:
        self._spares = spares
        # Unlike a condition it may be used by what has interrupted another use of it.
        self._requests: SimpleQueue[None] = SimpleQueue()
        self._closing = Latch()
        self._thread: threading.Thread | None = None
        self._start_again_at = 0.0
        self.error: str | None = None

    def request(self) -> None:
        """Ask for spares; returns at once."""
        if self._thread is None and time.monotonic() >= self._start_again_at:
            self._start()
        if self._requests.empty():
            self._requests.put(None)

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._closing.set()
        self._requests.put(None)
        thread = self._thread
        # By a finalizer, where a store is dropped, it may be called by the thread itself. Where two
        # interrupts have ended its start, it may not live, or not yet: then it ends by itself.
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="eventstore-prepare", daemon=True)
        try:
            self._thread = thread
            thread.start()
        except BaseException as error:
            # Where an interrupt has let it start, it ends by itself.
            self._thread = None
            if not isinstance(error, RuntimeError):
                raise
            if self.error is None:
                _logger.warning("no thread to prepare the next segment: %s", error)
            self.error = str(error)
            self._start_again_at = time.monotonic() + _START_AGAIN_SECONDS

    def _run(self) -> None:
        thread = threading.current_thread()
        while True:
            self._requests.get()
            if self._closing.is_set() or self._thread is not thread:
                self._requests.put(None)  # for another one that an interrupt has left running
                return
            try:
                self._spares.prepare(self._pause)
                self.error = None
            except (StorageFullError, OSError) as error:
                # Commits go on in the segment that is left; the roll that needs one will raise.
                if self.error is None:
                    _logger.warning("the next segment can't be prepared: %s", error)
                self.error = str(error)

    def _pause(self) -> None:
        self._closing.wait(_PREPARE_PAUSE_SECONDS)
