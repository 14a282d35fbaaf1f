"""Background maintenance: checkpoints by policy, and the compaction that follows each.

One thread, which looks once a second, so that commits do nothing for it. It yields to commits: a
thread that runs Python code for long makes others wait for the interpreter (5 ms at a time), so
it sleeps for half a millisecond whenever it has run for one: by time, because slices of work
differ, and to sleep after each one made a checkpoint sleep two thirds of its time. So the slowest
of 100 commits took 1.2 times as long beside a checkpoint as without, and 2 times where it ran for a
millisecond and slept for 0.2. An error is logged, unless the run before met the same, kept for
`stats`, and raised by the next explicit checkpoint or
compaction; the thread goes on and tries again. Where no thread can be started, `stats` and the log
say so, and the next write transaction tries again.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from eventstore.locks import Latch

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_SECONDS = 1.0
_RUN_SECONDS = 0.0005
_PAUSE_SECONDS = 0.0005

_logger = logging.getLogger("eventstore")


class MaintenanceStopped(BaseException):
    """Ends work in progress at its next pause, because the store is being closed."""


class Maintenance:
    """Runs one job when it is due, in a thread of its own."""

    def __init__(self, is_due: Callable[[], bool], job: Callable[[], object]) -> None:
        self._is_due = is_due
        self._job = job
        self._closing = Latch()
        self._thread: threading.Thread | None = None
        self._start_again_at = 0.0
        # When whoever works has run for long enough. Of two at once, one may sleep for the other.
        self._pause_at = 0.0
        self._error: BaseException | None = None
        self._start_error: RuntimeError | None = None

    @property
    def error(self) -> BaseException | None:
        """What the last run met, until an explicit call has raised it; or why none can start."""
        return self._error or self._start_error

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread unless it runs; where it can't be started, the caller goes on."""
        if self._thread is not None or time.monotonic() < self._start_again_at:
            return
        thread = threading.Thread(target=self._run, name="eventstore-maintenance", daemon=True)
        try:
            self._thread = thread
            thread.start()
            self._start_error = None
        except BaseException as error:
            # Where an interrupt has let it start, it ends by itself.
            self._thread = None
            if not isinstance(error, RuntimeError):
                raise
            if self._start_error is None:
                _logger.warning("no background maintenance: %s; it will be tried again", error)
            self._start_error = error
            self._start_again_at = time.monotonic() + _LOOK_SECONDS

    def pause(self) -> None:
        """Leave the processor to others now and then; called between slices of work."""
        if time.monotonic() < self._pause_at:
            return
        time.sleep(_PAUSE_SECONDS)
        self._pause_at = time.monotonic() + _RUN_SECONDS
        if self._closing.is_set() and threading.current_thread() is self._thread:
            raise MaintenanceStopped

    def raise_error(self) -> None:
        """Raise what the background has met since the last call, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """End the thread, and wait for it."""
        self._closing.set()
        # Where two interrupts have ended its start, it may not live, or not yet.
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        thread = threading.current_thread()
        while not self._closing.wait(_LOOK_SECONDS) and self._thread is thread:
            try:
                if self._is_due():
                    self._job()
                    self._error = None
            except MaintenanceStopped:
                return
            except Exception as error:
                if repr(error) != repr(self._error):
                    _logger.exception("background maintenance failed; it will be tried again")
                self._error = error
