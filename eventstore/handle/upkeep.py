"""Upkeep: the checkpoints and compactions of a handle, asked for, due, or at the end.

One is made at a time. What is due is made in the background (`Maintenance`), what is asked for by
who asks, and what a close leaves to the next open is kept short.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from eventstore.checkpoints.reader import no_pause
from eventstore.errors import EventStoreError, WriterBusyError, what_of
from eventstore.files.failures import is_gone
from eventstore.locks import refuse_reentry
from eventstore.maintenance.background import Maintenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.counters import Tally
    from eventstore.engine_events import Dropping
    from eventstore.handle.closing import Closing
    from eventstore.log.interface import Log
    from eventstore.maintenance.checkpointing import Checkpointer
    from eventstore.maintenance.requests import RequestDesk
    from eventstore.options import Retention, StoreOptions
    from eventstore.reports import CompactionReport

    Progress = Callable[[str, int, int], object]
    """What is counted, how many are done, and how many there are."""

_INDEXED_AT_CLOSE_MIN = 1024
"""Who asks of the past next would read as many batches first: some 20 ms, once in each process."""

_logger = logging.getLogger("eventstore")


class Upkeep:
    """Keeps the log of one handle short, for whoever writes to it."""

    def __init__(
        self,
        path: str,
        log: Log,
        checkpointer: Checkpointer,
        options: StoreOptions,
        closing: Closing,
        desk: RequestDesk | None,
        say_dropped: Callable[[], Callable[[Dropping, Retention], None] | None],
    ) -> None:
        """Begin; the background starts with `start`.

        Args:
            path: of the store, for messages.
            log: to be kept short.
            checkpointer: writes its checkpoints.
            options: of the store.
            closing: of the handle.
            desk: where other processes ask for a compaction, if there is such a place.
            say_dropped: returns what commits that batches are about to be dropped, by which rule;
                None where the handle was dropped.
        """
        self._path = path
        self._log = log
        self._checkpointer = checkpointer
        self._options = options
        self._closing = closing
        self._desk = desk
        self._committing_dropped = say_dropped
        # Held by a checkpoint or a compaction.
        self._turn = threading.RLock()
        self._background = Maintenance(self._is_work_due, self._work)
        # Whether the close has written down what it should, or has tried to.
        self._is_saved = False

    @property
    def checkpoint_revision(self) -> int:
        """The revision of the newest checkpoint that this handle has loaded or written."""
        return self._checkpointer.revision

    @property
    def checkpoint_seconds(self) -> Tally:
        """How long the checkpoints of this handle took."""
        return self._checkpointer.seconds

    @property
    def error(self) -> BaseException | None:
        """What the background has met, until an explicit call has raised it."""
        return self._background.error

    def refuse_reentry(self) -> None:
        """Raise `ReentrantUseError` if the running thread is in the middle of it."""
        refuse_reentry(self._turn)

    def start(self) -> None:
        """Have what is due made in the background, if the options ask for that."""
        if self._options.background:
            self._background.start()

    def checkpoint(self) -> int:
        """Write a checkpoint of the durable state; see `EventStore.checkpoint`."""
        refuse_reentry(self._turn)
        with self._closing.told():
            self._background.raise_error()
            with self._turn:
                self._closing.require_open()
                return self._checkpointer.write(self._background.pause)

    def compact(self, on_progress: Progress = lambda what, done, total: None) -> CompactionReport:
        """Write a checkpoint, then archive or drop; see `EventStore.compact`."""
        refuse_reentry(self._turn)
        with self._closing.told():
            self._background.raise_error()
            with self._turn:
                self._closing.require_open()
                return self._write_and_compact(on_progress)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep checkpoints and compactions away for the length of a with statement."""
        refuse_reentry(self._turn)
        with self._turn:
            self._closing.require_open()
            yield

    def begin_anew(self, remove: Callable[[], object]) -> None:
        """Let all checkpoints go of which something was erased, and write one of what is left.

        Args:
            remove: removes them; what is carried for the next one is forgotten before, so that it
                comes back in none, whatever this raises.
        """
        self._checkpointer.begin_anew()
        remove()
        self.save_rebuilt()

    def save_rebuilt(self) -> None:
        """Write down what was folded anew, so that the next open need not do it again."""
        try:
            with self._turn:
                self._checkpointer.write(no_pause)
        except (EventStoreError, OSError) as error:
            # Maintenance tries again. The open is as good without.
            _logger.warning("%s: no checkpoint of what was rebuilt: %s", self._path, what_of(error))

    def close(self) -> None:
        """End the background, save what is worth it, and let go of the log; again, if need be."""
        self._background.close()
        self._save_at_close()
        with self._turn:
            self._log.close()

    def has_threads(self) -> bool:
        """Say whether `let_go` may have to wait for a thread."""
        return self._background.is_running

    def let_go(self) -> None:
        """End the background and let go of the log, as if the process had been killed."""
        self._background.close()
        with self._turn:
            self._log.close()

    def _save_at_close(self) -> None:
        """Leave little to replay to the next open; that this fails takes nothing back."""
        options = self._options
        if self._is_saved or not (options.background and options.checkpoint_on_close):
            return
        self._is_saved = True  # before it is: what interrupts a close is not held up by another
        try:
            with self._turn:
                if self._checkpointer.is_due_at_close():
                    self._checkpointer.write(no_pause)
                if self._log.unindexed_count >= _INDEXED_AT_CLOSE_MIN:
                    self._log.index(no_pause, _INDEXED_AT_CLOSE_MIN)
        except (EventStoreError, OSError) as error:
            _logger.warning("%s: not all was saved at the close: %s", self._path, what_of(error))

    def _is_work_due(self) -> bool:
        return (
            self._is_checkpoint_due() or self._log.is_index_behind or self._requested() is not None
        )

    def _is_checkpoint_due(self) -> bool:
        if self._has_gone():
            return False
        with self._turn:
            self._checkpointer.take_in(self._background.pause)
            return self._checkpointer.is_due()

    def _has_gone(self) -> bool:
        """Say whether the store was moved or removed, which has failed the handle.

        A commit makes, opens and removes no file, so it does not see that itself.
        """
        try:
            self._log.look()
        except OSError as error:
            if not is_gone(error):
                raise
            return True
        return False

    def _work(self) -> None:
        with self._turn:
            token = self._requested()
            if token is not None and self._desk is not None:
                self._answer(self._desk, token)
            elif self._is_checkpoint_due():
                self._write_and_compact()
            else:
                self._log.index(self._background.pause)

    def _write_and_compact(
        self, on_progress: Progress = lambda what, done, total: None
    ) -> CompactionReport:
        pause = self._background.pause
        self._checkpointer.write(pause, partial(on_progress, "row"))
        return self._log.compact(pause, self._say_dropped, partial(on_progress, "segment"))

    def _say_dropped(self, dropping: Dropping) -> bool:
        """Have it committed that batches are about to be dropped; return whether that is done."""
        commit = self._committing_dropped()
        if commit is None:
            return False
        try:
            commit(dropping, self._options.retention)
        except WriterBusyError as error:
            _logger.warning("%s: nothing is dropped this time: %s", self._path, error)
            return False
        return True

    def _requested(self) -> str | None:
        """Return the token of a compaction that another process asks for; None without one."""
        return None if self._desk is None or self._has_gone() else self._desk.token()

    def _answer(self, desk: RequestDesk, token: str) -> None:
        """Compact because another process asks for it, who is told also where that fails."""
        try:
            report = self._write_and_compact()
        except Exception as error:
            desk.answer(token, error)
            raise
        desk.answer(token, report, self._checkpointer.revision)
