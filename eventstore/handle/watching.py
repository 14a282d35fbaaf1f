"""Watching: batches as they are committed, by this process or another one, without gaps.

A watch sleeps until the log says that its next batch is durable; what then comes is read from the
log, so nothing is lost where it is slow, stopped, or cancelled: it goes on where it was. It looks
up from its sleep ten times a second, to see whether it was closed, or its store.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from eventstore.files.failures import raise_if_gone
from eventstore.handle.closing import MET_AFTER_A_CLOSE
from eventstore.handle.history import batches
from eventstore.locks import Latch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from eventstore.event import Batch
    from eventstore.handle.closing import Closing
    from eventstore.log.interface import LogReader
    from eventstore.upcasting import Upcasters

_LOOK_SECONDS = 0.1


class Watch:
    """An iterator over batches, and an asynchronous one, from a revision on; one thread at a time.

    It ends when it or its store is closed, or after its timeout. An error that it raises ends
    nothing: the next call tries again.

    Attributes:
        next_revision: of the next batch; a new watch from there goes on where this one ended.
    """

    def __init__(
        self,
        log: LogReader,
        first_revision: int,
        shown_revision: Callable[[], int],
        closing: Closing,
        timeout_seconds: float | None,
        *,
        upcasters: Upcasters,
    ) -> None:
        """Use `EventStore.watch`.

        Args:
            log: where the batches are.
            first_revision: of the first one.
            shown_revision: returns the newest revision that readers are shown.
            closing: of the store's handle.
            timeout_seconds: end after this long without a batch; None to wait for ever.
            upcasters: that lead to the events as they are shown.
        """
        self.next_revision = first_revision
        self._log = log
        self._shown_revision = shown_revision
        self._closing = closing
        self._closed = Latch()
        self._timeout_seconds = timeout_seconds
        self._upcasters = upcasters
        self._ends_at: float | None = None
        self._batches: Iterator[Batch] | None = None

    def close(self) -> None:
        """End the watch, whoever waits for it; from any thread."""
        self._closed.set()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        while True:
            batch = self._ready()
            if batch is not None:
                return batch
            if self._has_ended():
                raise StopIteration
            self._wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while True:
            batch = self._ready()
            if batch is not None:
                return batch
            if self._has_ended():
                raise StopAsyncIteration
            await self._wait_aside()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_closed(self) -> bool:
        return self._closed.is_set() or self._closing.reason is not None

    def _ready(self) -> Batch | None:
        """Return the next batch if it is shown; none once the watch or its store is closed."""
        if self._is_closed():
            return None
        try:
            return self._next_shown()
        except MET_AFTER_A_CLOSE as error:
            if self._is_closed():
                return None
            raise_if_gone(error)
            raise

    def _next_shown(self) -> Batch | None:
        batches_left, self._batches = self._batches, None
        batch = next(batches_left, None) if batches_left is not None else None
        if batch is None:
            shown = self._shown_revision()
            if shown < self.next_revision:
                return None
            batches_left = batches(self._log, self.next_revision, shown, self._upcasters)
            batch = next(batches_left)
        self._batches = batches_left
        self.next_revision = batch.revision + 1
        self._ends_at = None
        return batch

    def _has_ended(self) -> bool:
        """Say whether nothing more is to come; called without a batch, it starts the timeout."""
        if self._is_closed():
            return True
        if self._timeout_seconds is None:
            return False
        now = time.monotonic()
        if self._ends_at is None:
            self._ends_at = now + self._timeout_seconds
        return now >= self._ends_at

    def _wait(self) -> None:
        seconds = _LOOK_SECONDS
        if self._ends_at is not None:
            seconds = max(0.0, min(seconds, self._ends_at - time.monotonic()))
        self._log.await_durable(self.next_revision, seconds)

    async def _wait_aside(self) -> None:
        """Let the event loop go on while a thread waits, and then look again."""
        import asyncio  # noqa: PLC0415 - it takes longer to import than all of the engine

        loop = asyncio.get_running_loop()
        looked = asyncio.Event()
        left = Latch()

        def wait() -> None:
            # Whatever this meets, the loop meets when it looks: it alone brings a follower's state
            # up to date.
            with contextlib.suppress(Exception):
                while not (left.is_set() or self._has_ended()):
                    self._wait()
                    if self._log.durable_revision >= self.next_revision:
                        break
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(looked.set)

        threading.Thread(target=wait, name="eventstore-watch", daemon=True).start()
        try:
            await looked.wait()
        finally:
            left.set()
