"""The embedded log: a directory of segments, checkpoints and archive, held by one lock.

It composes the writer, checkpoints and compaction, and owns what they share: the lock, the
`durable` file, the spare segments and the thread that prepares them. It never sees an event.
`opening` makes it, after a recovery.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from eventstore.backend.reading import DISK_USAGE, StoreFiles
from eventstore.checkpoints.writer import write_checkpoint
from eventstore.directory.contents import full_disk_is_told
from eventstore.errors import (
    ErasureError,
    StorageFullError,
    StoreClosedError,
    StoreFailedError,
)
from eventstore.files.failures import gone_error, is_full, is_gone
from eventstore.files.paths import join
from eventstore.format.durable import DURABLE_BYTES, pack_durable
from eventstore.format.names import CHECKPOINTS_NAME, DURABLE_NAME, WAL_NAME
from eventstore.log.preparer import Preparer
from eventstore.log.spares import SpareKeeper
from eventstore.log.writer import LogWriter, Salts, Segment, Ticket
from eventstore.maintenance.compaction import compact
from eventstore.maintenance.erasing import finish_erasure, obstacle, unfinished_for_space
from eventstore.maintenance.erasing_note import is_erasing, note_erasing
from eventstore.past.indexes import BATCHES_BEHIND_MAX
from eventstore.past.past import Past
from eventstore.proofs.store_tree import StoreTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint, CheckpointContent
    from eventstore.engine_events import Dropping
    from eventstore.files.guarded import GuardedFileSystem
    from eventstore.files.interface import FileSystem
    from eventstore.log.interface import Appended, Head, Wanted
    from eventstore.log.reader import Position, Record
    from eventstore.maintenance.erasures import Erased
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection
    from eventstore.reports import CompactionReport, RecoveryReport

_logger = logging.getLogger("eventstore")

_NOTE_SPACE_BYTES = 8192
"""What the note of an erasure needs: a block for it, and one where its directory grows."""


class FileLog:
    """A log in a directory of this machine; see `eventstore.log.interface.Log`.

    Attributes:
        finished_erasures: what the open has taken out, which an erasure names that was cut short.
    """

    def __init__(
        self,
        file_system: GuardedFileSystem,
        path: str,
        options: StoreOptions,
        recovered: tuple[Segment, Position, RecoveryReport],
        projections: Sequence[Projection],
        *,
        ends_hold: bool,
    ) -> None:
        """Use `eventstore.backend.opening`."""
        segment, end, self.recovery = recovered
        self.store_id = segment.header.store_id
        self._file_system = file_system
        self._path = path
        self._options = options
        self._ends_hold = ends_hold
        self._files = StoreFiles(file_system, path, self.store_id)
        self._projections = projections
        self._past = Past(file_system, path, self.store_id, projections)
        self._indexed_revision = 0
        self.finished_erasures: Erased = {}
        self._opened_revision = self.recovery.revision
        self._durable_block = file_system.share(
            join(path, DURABLE_NAME), DURABLE_BYTES, writable=True
        )
        try:
            self._durable_block.store(pack_durable(self.store_id, end.revision))
        except BaseException:
            self._durable_block.close()
            raise
        wal_path = join(path, WAL_NAME)
        self._spares = SpareKeeper(file_system, wal_path, options.segment_bytes)
        self._preparer = Preparer(self._spares)
        self._writer = LogWriter(
            file_system,
            wal_path,
            segment,
            end,
            self._durable_block,
            self._spares,
            batch_bytes_max=options.batch_bytes_max,
            on_space_needed=self._preparer.request,
            salts=Salts() if options.salted else None,
        )
        if options.retention.drops:
            # Before anything is dropped the log is read again, so that damage in it stops that.
            self._tree = StoreTree.of_files(file_system, path, self.store_id)
        else:
            self._tree = StoreTree.of_writer(
                file_system, path, self.store_id, self._writer.appended_digests
            )
        self._closed = self._has_let_go = False
        file_system.call_when_gone(self._fail_as_gone)

    @property
    def file_system(self) -> FileSystem:
        """The file system, for as long as the store is where it was opened."""
        return self._file_system

    @property
    def head(self) -> Head:
        """The last batch appended."""
        return self._writer.end.head

    @property
    def durable_revision(self) -> int:
        """The highest revision that is known to be on stable storage."""
        return self._writer.durable_revision

    @property
    def appended_bytes(self) -> int:
        """How much was appended through this handle."""
        return self._writer.appended_bytes

    @property
    def failure(self) -> BaseException | None:
        """What ended this handle's writing, if anything has."""
        return self._writer.failure

    def append(
        self, payload: bytes, *, expected_revision: int, frees_space: Callable[[], bool]
    ) -> Ticket:
        """Give a batch the expected revision and queue it; it is not durable yet."""
        if self._closed:
            self._require_open()
        last_revision = self._writer.end.head.revision
        if expected_revision != last_revision + 1:
            error = StoreFailedError(
                f"{self._path}: revision {expected_revision} was expected, but the log is at "
                f"{last_revision}: another writer has come in between, or a commit "
                "was stopped half-way; reopen"
            )
            self._writer.abandon(error)
            raise error
        return self._writer.append(payload, frees_space=frees_space)

    def make_durable(self, appended: Appended) -> None:
        """Return once a batch that the caller has appended is durable."""
        if not isinstance(appended, Ticket):
            raise TypeError("the batch was not appended to this log")
        self._writer.make_durable(appended)

    def refuse_reentry(self) -> None:
        """Raise `ReentrantUseError` if the running thread is in the middle of a call to the log."""
        self._writer.refuse_reentry()

    def abandon(self, error: BaseException) -> None:
        """Fail the handle: an interrupt left an appended batch that nobody makes durable."""
        if not self._closed:
            self._writer.abandon(error)

    def wait_until_durable(self, revision: int) -> None:
        """Return once a batch that some thread is making durable is so."""
        if self.durable_revision < revision:
            self._require_open()
        self._writer.wait_until_durable(revision)

    def read(self, first_revision: int, last_revision: int) -> Iterator[Record]:
        """Yield durable records."""
        return self._past.read(first_revision, min(last_revision, self.durable_revision))

    def select(
        self, first_revision: int, last_revision: int, wanted: Wanted, *, reverse: bool = False
    ) -> Iterator[Record]:
        """Yield durable records that may be wanted."""
        last = min(last_revision, self.durable_revision)
        return self._past.select(first_revision, last, wanted, reverse=reverse)

    def revision_at(self, time_ns: int, last_revision: int) -> int:
        """Return the last revision up to another whose time is not after a time."""
        return self._past.revision_at(time_ns, min(last_revision, self.durable_revision))

    def await_durable(self, revision: int, seconds: float) -> None:
        """Return once a revision is durable, or after so long, or earlier."""
        with contextlib.suppress(ValueError):  # it was closed
            known = self._durable_block.load()
            if self.durable_revision < revision:
                self._durable_block.wait(known, seconds)

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""
        return self._files.oldest_revision()

    def oldest_state(self) -> int:
        """Return the first revision whose state can be told, as the names of files say."""
        return self._files.oldest_state()

    def checkpoint_before(self, revision: int) -> Checkpoint | None:
        """Return the newest valid checkpoint at or before a revision."""
        return self._files.checkpoint_before(revision, self._past.read)

    def save_checkpoint(self, content: CheckpointContent, pause: Callable[[], object]) -> None:
        """Store a checkpoint durably, and verify it.

        On a full disk the space prepared for the next segments is given up for it.
        """
        directory = join(self._path, CHECKPOINTS_NAME)

        def write() -> None:
            # Only so that the bound on disk does not fall far behind: it may be stale.
            self._durable_block.sync()
            write_checkpoint(self._file_system, directory, content, pause)

        self._with_spare_space(write)

    def compact(
        self,
        pause: Callable[[], object],
        say_dropped: Callable[[Dropping], bool],
        on_segment: Callable[[int, int], object],
    ) -> CompactionReport:
        """Archive or drop what checkpoints supersede, and index what is left."""
        report: list[CompactionReport] = []
        self._with_spare_space(
            lambda: report.append(
                compact(
                    self._file_system,
                    self._path,
                    self.store_id,
                    self._options.retention,
                    tree=self._tree,
                    durable_revision=self.durable_revision,
                    say_dropped=say_dropped,
                    pause=pause,
                    on_segment=on_segment,
                )
            )
        )
        self.index(pause)
        return report[0]

    def begin_erasure(self, payloads: Mapping[int, bytes]) -> None:
        """Note that the next batch may be an erasure, which a crash may leave unfinished.

        What is there so far gets no further batch in the same segments, so that these can be
        replaced. The caller holds the store's writer lock, everything is durable, and no erasure is
        unfinished.

        Args:
            payloads: what would be left of batches, each by its revision.

        Raises:
            ErasureError: that can't stand in its segment; nothing was noted.
            StorageFullError: there is no space for that, or for what follows; nothing was noted.
        """
        problem = obstacle(self._file_system, self._path, payloads)
        if problem is not None:
            raise ErasureError(f"{self._path}: {problem}")
        remedy = f"free at least {_NOTE_SPACE_BYTES} bytes, and erase again"
        with full_disk_is_told(self._path, remedy):
            # One to go on in, and one whose space a segment that is written anew can have.
            self._spares.prepare()
            self._writer.seal()
            note_erasing(self._file_system, self._path, self.head.revision)

    def finish_erasure(self) -> Erased:
        """Take out what durable erasures name, beside running transactions, and return it.

        Raises:
            CorruptionError: a segment is damaged; the next open goes on, as after any other error.
            StorageFullError: there is no space to write a segment anew, nor a spare to give it up.
        """
        if not is_erasing(self._file_system, self._path):
            return {}
        finished: Erased = {}

        def finish() -> None:
            nonlocal finished
            finished = finish_erasure(self._file_system, self._path)

        try:
            self._with_spare_space(finish)
        except StorageFullError as error:
            raise unfinished_for_space(self._file_system, self._path) from error
        # What was opened, and what is known of the segments, is of files that are gone.
        self._past = Past(self._file_system, self._path, self.store_id, self._projections)
        self._indexed_revision = 0
        return finished

    @property
    def is_index_behind(self) -> bool:
        """Whether so much was appended since the last call of `index` that it is time for one."""
        return self.durable_revision - self._indexed_revision >= BATCHES_BEHIND_MAX

    @property
    def unindexed_count(self) -> int:
        """How many batches were appended since this was opened that no call of `index` has seen."""
        return self.durable_revision - max(self._indexed_revision, self._opened_revision)

    def index(self, pause: Callable[[], object], batches_min: int = BATCHES_BEHIND_MAX) -> None:
        """Write the indexes of the past that are missing or behind."""
        durable_revision = self.durable_revision
        self._past.indexes.keep_up(durable_revision, pause, batches_min)
        self._indexed_revision = durable_revision

    def stats(self) -> dict[str, Any]:
        """Return sizes and counts; None for those of files that are no longer at the path."""
        head = self.head
        try:
            self.look()
            on_disk: dict[str, int | None] = {
                "oldest_revision": self.oldest_revision(),
                **self._files.disk_usage(),
            }
        except OSError as error:
            if not is_gone(error):
                raise
            # A monitor asks for this to learn of such a failure.
            on_disk = dict.fromkeys(("oldest_revision", *DISK_USAGE))
        return {
            "path": self._path,
            "store_id": self.store_id.hex(),
            "revision": head.revision,
            "durable_revision": self.durable_revision,
            "digest": head.digest.hex(),
            "appended_bytes": self.appended_bytes,
            "group_sizes": self._writer.group_sizes.as_dict(),
            "sync_seconds": self._writer.sync_seconds.as_dict(),
            "spare_ready": self._spares.ready,
            "prepare_error": self._preparer.error,
            **on_disk,
        }

    def close(self) -> None:
        """Release everything; does nothing the second time."""
        if self._has_let_go:
            return
        self._closed = True
        try:
            self._preparer.close()
            self._writer.close()
            self._spares.close()
            # It may be stale, so a medium that fails here takes nothing back.
            # It is closed already where an interrupt has ended the close before this one.
            with contextlib.suppress(OSError, ValueError):
                self._durable_block.sync()
            self._durable_block.close()
        finally:
            if self._ends_hold:
                self._file_system.release()
        self._has_let_go = True

    def look(self) -> None:
        """Fail the handle if the store is no longer at its path: a commit does not notice that.

        Raises:
            OSError: it is not (`is_gone`).
        """
        self._file_system.require_there(join(self._path, WAL_NAME))

    def abandon_after_fork(self) -> None:
        """Give up the lock's descriptor, which would hold the lock while the child lives."""
        self._closed = self._has_let_go = True
        self._past.indexes.renew_lock()
        self._file_system.release()

    def _fail_as_gone(self, error: OSError) -> None:
        if self._closed or self.failure is not None:
            return
        self._writer.fail_soon(error)
        _logger.error("%s", gone_error(error))

    def _require_open(self) -> None:
        """Refuse to go on for a transaction that has outlived a fork: its log is the parent's."""
        if self._closed:
            raise StoreClosedError(
                f"{self._path}: this process was forked from the one that opened the store, and "
                "can't finish its transactions"
            )

    def _with_spare_space(self, write: Callable[[], object]) -> None:
        """Do something that needs space; while there is none, again in that of a spare.

        Raises:
            StorageFullError: there is no space, and no spare to give it up.
        """
        try:
            while True:
                try:
                    write()
                    return
                except StorageFullError:
                    if not self._spares.lend():
                        raise
                except OSError as error:
                    # Renames and syncs need space too, where blocks are found late.
                    if not is_full(error):
                        raise
                    if not self._spares.lend():
                        raise StorageFullError(
                            f"{self._path}: no space ({error}); nothing was lost",
                            "free some space and try again",
                        ) from error
        finally:
            if self._spares.end_loan():
                self._preparer.request()
