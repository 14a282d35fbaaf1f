"""The follower's log: another process's store, read without its lock.

A follower never repairs and never writes. It shows batches up to the revision in the `durable`
file, which the writer updates after each sync, so nothing that a crash could take back. When the
writer compacts, the cursor finds the segment in the archive; when retention has dropped what the
follower has not read yet, it starts again from the newest checkpoint. So it does once an erasure
that it has read of is carried out: what it holds in memory is from before. A log that shrank or
forked since the last look is refused.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from eventstore.backend.reading import StoreFiles
from eventstore.directory.contents import (
    being_made,
    require_files,
    require_made,
    require_store,
)
from eventstore.errors import (
    CompactedError,
    CorruptionError,
    FormatVersionError,
    ReadOnlyStoreError,
)
from eventstore.files.failures import is_no_file, unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.blocks import NewerVersionError
from eventstore.format.durable import DURABLE_BYTES, unpack_durable
from eventstore.format.names import DURABLE_NAME
from eventstore.locks import refuse_reentry
from eventstore.log.cursor import RecordCursor
from eventstore.log.interface import Head
from eventstore.log.redaction import may_erase
from eventstore.maintenance.erasing_note import is_erasing
from eventstore.past.past import Past
from eventstore.recovery.carrying import carried_over
from eventstore.recovery.decide import decide
from eventstore.recovery.replay import decode_record, replay_record, stale_projections, start_state
from eventstore.recovery.scan import read_durable_bound, scan_store
from eventstore.reports import RecoveryReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.files.interface import FileSystem, SharedBlock
    from eventstore.log.interface import Wanted
    from eventstore.log.reader import Record
    from eventstore.projection import Projection
    from eventstore.recovery.scan import ScanResult
    from eventstore.tables.state import State

_ATTEMPTS = 5
_RETRY_SECONDS = 0.05
_MAP_AGAIN_SECONDS = 1.0


class FollowerLog:
    """The log of another process (`eventstore.log.interface.LogReader`), and the state of it.

    Attributes:
        state: as of the last `refresh`.
        recovery: what the open found.
    """

    def __init__(
        self, file_system: FileSystem, path: str, projections: Sequence[Projection]
    ) -> None:
        """Open a store for following.

        Raises:
            NotAStoreError: there is no store, one that is half made, or one that an open would
                refuse as none.
            CorruptionError: what the writer had acknowledged is damaged.
            FormatVersionError: the store has a newer format.
        """
        require_made(file_system, path)
        require_store(file_system, path, may_create=False)
        require_files(file_system, path)
        self._file_system = file_system
        self._path = path
        self._projections = projections
        self._lock = threading.RLock()
        self._durable = _DurableFile(file_system, join(path, DURABLE_NAME))
        self._is_closed = False
        # Whether the state may hold what an erasure is taking out of the files.
        self._is_outdated = False
        self.state, self.store_id, self.recovery = self._load()
        self._files = StoreFiles(file_system, path, self.store_id)
        self._past = Past(file_system, path, self.store_id, projections)
        self._cursor = self._new_cursor()

    @property
    def head(self) -> Head:
        """The last batch seen."""
        version = self.state.durable
        return Head(version.revision, version.digest, version.time_ns)

    @property
    def durable_revision(self) -> int:
        """The highest revision that the writer says is on stable storage."""
        return max(self._bound(), self.state.durable.revision)

    def refresh(self) -> State:
        """Return the state with everything that is durable by now.

        Raises:
            CorruptionError: the log is damaged, or shrank or forked since the last look.
            NotAStoreError: the store was removed.
        """
        bound = self._bound()
        if bound == self.state.durable.revision and not self._is_outdated:
            return self.state
        refuse_reentry(self._lock)
        with self._lock:
            if self._is_closed:
                return self.state
            if bound > self.state.durable.revision:
                self._catch_up(bound)
            elif 0 < bound < self.state.durable.revision:
                self._require_same_history()
            if self._is_outdated and not is_erasing(self._file_system, self._path):
                self._begin_again()
        return self.state

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
        """Return once the writer says that a revision is durable, or after so long, or earlier."""
        self._durable.wait(revision, self.store_id, seconds)

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read."""
        return self._files.oldest_revision()

    def oldest_state(self) -> int:
        """Return the first revision whose state can be told, as the names of files say."""
        return self._files.oldest_state()

    def checkpoint_before(self, revision: int) -> Checkpoint | None:
        """Return the newest valid checkpoint at or before a revision."""
        return self._files.checkpoint_before(revision, self._past.read)

    def stats(self) -> dict[str, Any]:
        """Return sizes and counts."""
        head = self.head
        return {
            "path": self._path,
            "store_id": self.store_id.hex(),
            "revision": head.revision,
            "durable_revision": self.durable_revision,
            "oldest_revision": self.oldest_revision(),
            "digest": head.digest.hex(),
            **self._files.disk_usage(),
        }

    def close(self) -> None:
        """Release the files, once no other thread is using them."""
        refuse_reentry(self._lock)
        with self._lock:
            self._is_closed = True
            self._cursor.close()
            self._durable.close()

    def abandon_after_fork(self) -> None:
        """Free the lock that another thread may have held; a follower holds none of the store."""
        self._past.indexes.renew_lock()

    def refuse_reentry(self) -> None:
        """Raise `ReentrantUseError` if the running thread is in the middle of a call."""
        refuse_reentry(self._lock)
        self._durable.refuse_reentry()

    def _load(self) -> tuple[State, bytes, RecoveryReport]:
        """Load the state; again if the writer's compaction came in between."""
        for attempt in range(_ATTEMPTS):
            try:
                started = time.monotonic()
                state, store_id, report = self._load_once()
                seconds = time.monotonic() - started
                return state, store_id, dataclasses.replace(report, seconds=seconds)
            except (FileNotFoundError, CorruptionError):
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_RETRY_SECONDS)
        raise AssertionError("unreachable")

    def _load_once(self) -> tuple[State, bytes, RecoveryReport]:
        # Asked in this order: what was erased up to there has gone, or the note of it is there.
        with unreadable_is_damage(join(self._path, DURABLE_NAME), is_no_file):
            known_revision = read_durable_bound(self._file_system, self._path, None)
        self._is_outdated = is_erasing(self._file_system, self._path)
        scan = scan_store(self._file_system, self._path, beside_writer=True)
        checkpoint = carried_over(self._projections, scan.checkpoint)
        if stale_projections(self._projections, checkpoint):
            raise ReadOnlyStoreError(
                f"{self._path}: the newest checkpoint holds other projections, or other versions "
                "of them, than were given; open the store for writing to rebuild them"
            )
        state = start_state(self._projections, checkpoint)
        for record in scan:
            if record.revision <= scan.durable_revision:
                replay_record(state, record)
                if record.revision > known_revision:
                    self._note_erasure(record)
            else:
                decode_record(record)  # what the writer is about to acknowledge must be a batch
        scanned = scan.result()
        decision = decide(scanned.found)
        if decision.problem is not None:
            raise decision.problem.error()
        if scanned.found.tail is None:
            raise being_made(self._path)
        report = _report(scanned, state.durable.revision)
        return state, scanned.found.tail.header.store_id, report

    def _bound(self) -> int:
        """Return the revision that the `durable` file states; 0 if it says nothing.

        Raises:
            CorruptionError: another store is there, or this one has lost its log.
            NotAStoreError: the store was removed.
        """
        bound = self._durable.revision(self.store_id)
        if bound or self._is_closed:
            return bound
        if self._files.newest_store_id() != self.store_id:
            raise _replaced(self._path)
        return 0

    def _new_cursor(self) -> RecordCursor:
        version = self.state.durable
        return RecordCursor(
            self._file_system,
            self._path,
            self.store_id,
            version.revision + 1,
            version.digest or None,
        )

    def _catch_up(self, bound: int) -> None:
        try:
            for record in self._cursor.read(bound):
                replay_record(self.state, record)
                self._note_erasure(record)
        except CompactedError:
            self._begin_again()
        except BaseException:
            # The cursor is past a batch that the state does not hold.
            self._cursor.close()
            self._cursor = self._new_cursor()
            raise

    def _note_erasure(self, record: Record) -> None:
        """Take note that what was read before is about to go, or has gone, from the files."""
        if may_erase(record.payload):
            self._is_outdated = True

    def _begin_again(self) -> None:
        """Start again from the newest checkpoint, and forget what was read of the files."""
        self._cursor.close()
        try:
            state, store_id, recovery = self._load()
        except BaseException:
            self._is_outdated = True
            raise
        if store_id != self.store_id:
            raise _replaced(self._path) from None
        self.state, self.recovery = state, recovery
        self._past = Past(self._file_system, self._path, self.store_id, self._projections)
        self._cursor = self._new_cursor()

    def _require_same_history(self) -> None:
        """Check that the last batch seen is still there, although `durable` is behind it.

        After a power loss the `durable` file may be old, and nothing is wrong.
        """
        version = self.state.durable
        cursor = RecordCursor(self._file_system, self._path, self.store_id, version.revision)
        try:
            digests = [record.digest for record in cursor.read(version.revision)]
        finally:
            cursor.close()
        if digests != [version.digest]:
            raise CorruptionError(
                self._path, 0, "the log holds another history than when it was last read"
            )


class _DurableFile:
    """The `durable` file of the writer, mapped.

    It is mapped again from time to time, because another file may have taken its place: a
    recovery makes a lost one anew, and a backup that is put back brings its own.
    """

    def __init__(self, file_system: FileSystem, path: str) -> None:
        self._file_system = file_system
        self._path = path
        self._lock = threading.RLock()
        self._block = self._map()
        self._map_again_at: float = time.monotonic() + _MAP_AGAIN_SECONDS

    def refuse_reentry(self) -> None:
        """Raise `ReentrantUseError` if the running thread is in the middle of a call."""
        refuse_reentry(self._lock)

    def revision(self, store_id: bytes) -> int:
        """Return the revision that the file states; 0 if it can't be relied on, or is closed.

        The file of another store says nothing of this one.

        Raises:
            FormatVersionError: it has a newer format.
        """
        refuse_reentry(self._lock)
        with self._lock:
            if time.monotonic() >= self._map_again_at:
                self._release()
                self._block = self._map()
                self._map_again_at = time.monotonic() + _MAP_AGAIN_SECONDS
            if self._block is None:
                return 0
            for _ in range(_ATTEMPTS):  # the writer may be in the middle of a change
                revision = self._read(self._block, store_id)
                if revision is not None:
                    return revision
            return 0

    def wait(self, revision: int, store_id: bytes, seconds: float) -> None:
        """Return once the file states a revision, or after so long, or earlier."""
        block = self._block
        try:
            known = block.load() if block is not None else b""
            if block is None or (self._read(block, store_id) or 0) >= revision:
                time.sleep(min(seconds, _RETRY_SECONDS) if block is None else 0)
            else:
                block.wait(known, min(seconds, _MAP_AGAIN_SECONDS))
        except ValueError:  # it was mapped again, or closed
            return

    def close(self) -> None:
        """Release the file."""
        refuse_reentry(self._lock)
        with self._lock:
            self._release()
            self._map_again_at = math.inf

    def _map(self) -> SharedBlock | None:
        try:
            return self._file_system.share(self._path, DURABLE_BYTES, writable=False)
        except (OSError, ValueError):
            return None  # half made, or cut short: then only what the log itself proves is shown

    def _release(self) -> None:
        if self._block is not None:
            self._block.close()
            self._block = None

    def _read(self, block: SharedBlock, store_id: bytes) -> int | None:
        try:
            return unpack_durable(block.load(), store_id)
        except NewerVersionError as error:
            raise FormatVersionError(
                self._path, error.found_version, error.known_version
            ) from error


def _replaced(path: str) -> CorruptionError:
    return CorruptionError(
        path, 0, "another store has taken the place of the one that was followed"
    )


def _read_only(path: str) -> ReadOnlyStoreError:
    return ReadOnlyStoreError(
        f"{path}: the store is open for reading only; open it without read_only to write"
    )


def _report(scanned: ScanResult, revision: int) -> RecoveryReport:
    started = scanned.checkpoint.revision if scanned.checkpoint else 0
    return RecoveryReport(
        verdict=Verdict.CLEAN,
        revision=revision,
        checkpoint_revision=started,
        replayed_batches=revision - started,
        damaged_checkpoints=scanned.damaged_checkpoints,
    )
