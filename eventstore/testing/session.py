"""A session: runs a store over a file system and notes what it issues and promises.

The store is the engine's own; only its log is wrapped, at the `Log` seam, to see every batch on
its way and every promise on its way back. Two more things make runs repeatable:

- the next segment is prepared by the committing thread, right after the commit that asked for it,
  instead of by a thread of its own. So one workload makes the same operations in each run. With
  `own_threads` the engine's thread does it;
- `Session.together` has several threads' batches share one sync: each of them waits, once its
  batch is appended, until all have been.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eventstore.backend.file_log import FileLog
from eventstore.errors import StorageFullError
from eventstore.handle.receipt import Receipt
from eventstore.options import StoreOptions
from eventstore.past.indexes import BATCHES_BEHIND_MAX
from eventstore.store import EventStore
from eventstore.testing.notes import Given, Issued, Notes, Opened, Promised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint, CheckpointContent
    from eventstore.engine_events import Dropping
    from eventstore.event import Event, Metadata
    from eventstore.files.interface import FileSystem
    from eventstore.handle.transactions import R, W
    from eventstore.log.interface import Appended, Head, Log, Wanted
    from eventstore.log.reader import Record
    from eventstore.projection import Projection
    from eventstore.reports import CompactionReport, RecoveryReport
    from eventstore.testing.simulated import SimulatedFileSystem

STORE_PATH = "/store"
"""Where sessions keep their store."""

SMALL = StoreOptions(segment_bytes=4096, background=False)
"""Options under which a few dozen batches fill several segments."""


class NotedLog:
    """A log that notes what is issued and what is promised; see `eventstore.log.interface.Log`."""

    def __init__(self, log: Log, session: Session) -> None:
        self._log = log
        self._session = session

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn when the store was made."""
        return self._log.store_id

    @property
    def recovery(self) -> RecoveryReport:
        """What opening the log found and did."""
        return self._log.recovery

    @property
    def head(self) -> Head:
        """The last batch appended."""
        return self._log.head

    @property
    def durable_revision(self) -> int:
        """The highest revision that is known to be on stable storage."""
        return self._log.durable_revision

    @property
    def appended_bytes(self) -> int:
        """How much was appended through this handle."""
        return self._log.appended_bytes

    @property
    def failure(self) -> BaseException | None:
        """What ended this handle's writing, if anything has."""
        return self._log.failure

    def append(
        self, payload: bytes, *, expected_revision: int, frees_space: Callable[[], bool]
    ) -> Appended:
        """Append, noted before, since another thread may write it at once."""
        self._session.notes.add(Issued(expected_revision, payload))
        return self._log.append(
            payload, expected_revision=expected_revision, frees_space=frees_space
        )

    def make_durable(self, appended: Appended) -> None:
        """Return once the batch is durable, and note the promise."""
        self._session.gather()
        failed_before = self._log.failure is not None
        self._log.make_durable(appended)
        if failed_before:
            self._session.broken_promises += 1
        self._session.notes.add(Promised(appended.revision, appended.digest))
        receipt = Receipt(self._log.store_id, appended.revision, appended.digest)
        self._session.notes.add(Given(receipt))

    def refuse_reentry(self) -> None:
        """Raise if this was called amid a call to the log."""
        self._log.refuse_reentry()

    def abandon(self, error: BaseException) -> None:
        """Fail the handle."""
        self._log.abandon(error)

    def wait_until_durable(self, revision: int) -> None:
        """Return once a revision is durable, and note the promise."""
        self._log.wait_until_durable(revision)
        self._session.notes.add(Promised(revision, None))

    def read(self, first_revision: int, last_revision: int) -> Iterator[Record]:
        """Yield durable records."""
        return self._log.read(first_revision, last_revision)

    def select(
        self, first_revision: int, last_revision: int, wanted: Wanted, *, reverse: bool = False
    ) -> Iterator[Record]:
        """Yield durable records that may be wanted."""
        return self._log.select(first_revision, last_revision, wanted, reverse=reverse)

    def revision_at(self, time_ns: int, last_revision: int) -> int:
        """Return the last revision whose time is not after a time."""
        return self._log.revision_at(time_ns, last_revision)

    def await_durable(self, revision: int, seconds: float) -> None:
        """Return once a revision is durable, or after so long, or earlier."""
        self._log.await_durable(revision, seconds)

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""
        return self._log.oldest_revision()

    def oldest_state(self) -> int:
        """Return the first revision whose state can be told."""
        return self._log.oldest_state()

    def checkpoint_before(self, revision: int) -> Checkpoint | None:
        """Return the newest valid checkpoint at or before a revision."""
        return self._log.checkpoint_before(revision)

    def save_checkpoint(self, content: CheckpointContent, pause: Callable[[], object]) -> None:
        """Store a checkpoint."""
        _ = pause  # nobody else waits for the processor
        self._log.save_checkpoint(content, _no_pause)

    def look(self) -> None:
        """Fail, and raise, if what is committed would not be found."""
        self._log.look()

    def compact(
        self,
        pause: Callable[[], object],
        say_dropped: Callable[[Dropping], bool],
        on_segment: Callable[[int, int], object],
    ) -> CompactionReport:
        """Archive or drop what checkpoints supersede."""
        _ = pause
        return self._log.compact(_no_pause, say_dropped, on_segment)

    @property
    def is_index_behind(self) -> bool:
        """Whether it is time for `index`."""
        return self._log.is_index_behind

    @property
    def unindexed_count(self) -> int:
        """How many batches were appended since this was opened that no call of `index` has seen."""
        return self._log.unindexed_count

    def index(self, pause: Callable[[], object], batches_min: int = BATCHES_BEHIND_MAX) -> None:
        """Bring the stored index of the past up to date."""
        _ = pause
        self._log.index(_no_pause, batches_min)

    def stats(self) -> Mapping[str, Any]:
        """Return sizes and counts."""
        return self._log.stats()

    def abandon_after_fork(self) -> None:
        """Give up what must not be shared with the parent process."""
        self._log.abandon_after_fork()

    def close(self) -> None:
        """Release everything."""
        self._log.close()


class NotedStore(EventStore):
    """An event store that a session watches."""

    def watched_by(self, session: Session) -> None:
        """Note what this store issues and promises from now on."""
        self._session = session
        durable = self._state.durable
        session.notes.add(Opened(durable.revision, durable.digest))
        self.wants_space = False
        if isinstance(self._log, FileLog) and not session.own_threads:
            self._spares = self._log._spares
            self._log._writer._on_space_needed = self._want_space
        if self._writer is not None:
            self._log = self._writer = NotedLog(self._writer, session)

    def begin_read(self, transaction_type: type[R]) -> R:
        """Begin a read transaction; what it can see is promised."""
        transaction = super().begin_read(transaction_type)
        if self._writer is not None:
            self._session.notes.add(Promised(transaction.revision, None))
        return transaction

    def begin_write(
        self, transaction_type: type[W], metadata: Metadata, timeout: float | None = None
    ) -> W:
        """Begin a write transaction, after making the space that the last one has asked for."""
        self.make_space()
        return super().begin_write(transaction_type, metadata, timeout)

    def make_space(self) -> None:
        """Prepare the next segment, if it was asked for, as the engine's thread would do."""
        if self.wants_space:
            self.wants_space = False
            try:
                self._spares.prepare(_no_pause)
            except (StorageFullError, OSError):
                # The thread would log it; the roll that needs the space will raise.
                return

    @property
    def file_system(self) -> FileSystem:
        """The medium of the store, on which a driver makes its directories too."""
        return self._session.file_system

    @property
    def head(self) -> Head:
        """The last batch appended."""
        return self._written().head

    def raw_records(self) -> Iterator[Record]:
        """Yield every durable record that is kept."""
        return self._log.read(self._log.oldest_revision(), self._log.durable_revision)

    def _want_space(self) -> None:
        self.wants_space = True


@dataclass
class Session:
    """Opens stores over one file system, and keeps notes of them.

    Attributes:
        file_system: that the stores use.
        projections: that they fold into.
        notes: what they issue and promise.
        options: of the next open, and of the ones that recover.
        own_threads: whether the engine's preparing thread runs.
        broken_promises: commits acknowledged by a handle that had failed before.
    """

    file_system: FileSystem
    projections: Sequence[Projection]
    notes: Notes
    options: StoreOptions = SMALL
    own_threads: bool = False
    broken_promises: int = 0
    _barrier: threading.Barrier | None = field(default=None, init=False)

    @classmethod
    def over(
        cls,
        file_system: SimulatedFileSystem,
        projections: Sequence[Projection],
        options: StoreOptions = SMALL,
    ) -> Session:
        """Return a session over a simulated file system, with nothing noted yet."""
        notes = Notes(lambda: file_system.position)
        return cls(file_system, projections, notes, options)

    def open(self, options: StoreOptions | None = None) -> NotedStore:
        """Open the store of the session."""
        if options is not None:
            self.options = options
        opened = NotedStore.open(
            STORE_PATH, self.projections, options=self.options, file_system=self.file_system
        )
        opened.watched_by(self)
        return opened

    def commit(self, store: EventStore, *events: Event, actor: str | None = None) -> Receipt | None:
        """Commit events as one batch."""
        with store.transaction(writable=True, actor=actor) as transaction:
            for event in events:
                transaction.emit(event)
        return transaction.receipt

    def together(self, *commits: Callable[[], object]) -> None:
        """Run commits in a thread each; none is made durable before all have been appended.

        Raises:
            BaseException: what the first of them raised.
        """
        errors: list[BaseException] = []

        def run(commit: Callable[[], object]) -> None:
            try:
                commit()
            except BaseException as error:
                errors.append(error)

        self._barrier = threading.Barrier(len(commits))
        threads = [threading.Thread(target=run, args=(commit,)) for commit in commits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._barrier = None
        if errors:
            raise errors[0]

    def gather(self) -> None:
        """Wait, inside `together`, for the other threads."""
        if self._barrier is not None:
            self._barrier.wait(10)


def _no_pause() -> None:
    """Pause not at all: nobody else waits for the processor."""
