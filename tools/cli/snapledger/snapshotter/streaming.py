"""A stream whose client reads nothing is ended: else it would keep its thread for ever.

gRPC has a thread wait until the client has room for the next message, however long that is.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)


class _Watch:
    """Calls `cancel` once nothing has been read for so many seconds; one thread for its life."""

    def __init__(self, cancel: Callable[[], object], seconds: float) -> None:
        self._cancel = cancel
        self._seconds = seconds
        self._read_at = time.monotonic()
        self._is_over = threading.Event()
        threading.Thread(target=self._look, name="idle-list", daemon=True).start()

    def note(self) -> None:
        """Say that the client has read something."""
        self._read_at = time.monotonic()

    def end(self) -> None:
        """Call nothing any more."""
        self._is_over.set()

    def _look(self) -> None:
        while (left := self._read_at + self._seconds - time.monotonic()) > 0:
            if self._is_over.wait(left):
                return
        _log.warning("a stream was ended: its client reads nothing", extra={"for": self._seconds})
        self._cancel()


@contextmanager
def ended_when_idle(cancel: Callable[[], object], seconds: float) -> Iterator[Callable[[], None]]:
    """Cancel a stream amid the block that was not read from for so long; give what notes a read."""
    watch = _Watch(cancel, seconds)
    try:
        yield watch.note
    finally:
        watch.end()
