"""The files of a store for reading: what its writer and its followers read in the same way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore.checkpoints.loader import CheckpointLoader, list_checkpoints
from eventstore.checkpoints.rungs import list_rungs
from eventstore.directory.contents import require_store
from eventstore.errors import CompactedError, CorruptionError
from eventstore.files.failures import is_no_file
from eventstore.files.paths import join
from eventstore.format.names import CHECKPOINTS_NAME, WAL_NAME, checkpoint_name
from eventstore.log.cursor import RecordCursor
from eventstore.log.reader import read_own_header, read_segment_header
from eventstore.log.segments import (
    SegmentSource,
    list_archived,
    list_segments,
    list_sources,
    opened_source,
)
from eventstore.recovery.decide import contradiction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.checkpoints.chains import CheckpointFile
    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.files.interface import FileSystem
    from eventstore.log.reader import Record

    Read = Callable[[int, int], Iterator[Record]]

_ATTEMPTS = 5
_KINDS = ("segment", "archive", "checkpoint")
DISK_USAGE = tuple(f"{kind}_{unit}" for kind in _KINDS for unit in ("count", "bytes"))
"""The keys of `StoreFiles.disk_usage`."""


class StoreFiles:
    """Segments, archive and checkpoints in a directory."""

    def __init__(self, file_system: FileSystem, path: str, store_id: bytes) -> None:
        self._file_system = file_system
        self._path = path
        self._store_id = store_id

    def read(self, first_revision: int, last_revision: int) -> Iterator[Record]:
        """Yield records, which the caller knows to be durable.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a record is damaged.
        """
        cursor = RecordCursor(self._file_system, self._path, self._store_id, first_revision)
        try:
            yield from cursor.read(last_revision)
        finally:
            cursor.close()

    def oldest_revision(self) -> int:
        """Return the first revision that can still be read.

        Raises:
            CorruptionError: there is no segment.
        """
        return self._sources()[0].first_revision

    def oldest_state(self) -> int:
        """Return the first revision whose state can be told, as the names of files say.

        Raises:
            CorruptionError: there is no segment.
        """
        oldest = self.oldest_revision()
        if oldest == 1:
            return 0
        loader = CheckpointLoader(self._file_system, self._state_files())
        return min((each for each in loader.revisions if each >= oldest - 1), default=oldest)

    def newest_store_id(self) -> bytes:
        """Return the id in the newest segment.

        Raises:
            CorruptionError: there is no segment, or it is damaged.
            NotAStoreError: the store was removed.
            OSError: the medium fails, which says nothing of the segment.
        """
        with opened_source(self._file_system, self._sources()[-1], is_no_file) as file:
            return read_segment_header(file).store_id

    def _sources(self) -> list[SegmentSource]:
        sources = list_sources(self._file_system, self._path)
        if not sources:
            require_store(self._file_system, self._path, may_create=False)
            wal_path = join(self._path, WAL_NAME)
            raise CorruptionError(wal_path, 0, "all segments of the log are missing")
        return sources

    def checkpoint_before(self, revision: int, read: Read) -> Checkpoint | None:
        """Return the newest checkpoint at or before a revision that is valid and of this history.

        Args:
            revision: the highest that it may have.
            read: yields the records of the log from one revision to another. By the index of the
                past it costs some records to compare a checkpoint with the log, else on average
                half a segment of them.

        Returns:
            None if there is no such checkpoint, and the log can be replayed from its first batch.

        Raises:
            CorruptionError: there would be one, were it not damaged or contradicted by the log,
                and the log no longer reaches back to its first batch.
        """
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):  # compaction has removed a file
                return self._newest_until(revision, read)
        return self._newest_until(revision, read)

    def _newest_until(self, revision: int, read: Read) -> Checkpoint | None:
        problem: CorruptionError | None = None
        loader = CheckpointLoader(self._file_system, self._state_files())
        for found in loader.revisions:
            if found > revision:
                continue
            try:
                checkpoint = loader.load(found)
                self._require_own(checkpoint, read)
            except CorruptionError as error:
                problem = problem or error
            else:
                return checkpoint
        if problem is not None and self.oldest_revision() > 1:
            raise problem
        return None

    def _state_files(self) -> list[CheckpointFile]:
        return [
            *list_checkpoints(self._file_system, self._path),
            *list_rungs(self._file_system, self._path),
        ]

    def _require_own(self, checkpoint: Checkpoint, read: Read) -> None:
        """Check that a checkpoint belongs to this store and its history, as far as that is kept.

        Raises:
            CorruptionError: it does not.
        """
        path = join(self._path, CHECKPOINTS_NAME, checkpoint_name(checkpoint.revision))
        if checkpoint.store_id != self._store_id:
            raise CorruptionError(path, 0, "the checkpoint belongs to another store")
        digest = self._digest_at(checkpoint.revision, read)
        problem = contradiction(checkpoint, digest, path, 0) if digest is not None else None
        if problem is not None:
            raise problem.error()

    def _digest_at(self, revision: int, read: Read) -> bytes | None:
        """Return the chain digest of the log at a revision; None if the log can't tell.

        It stands in the header of the segment that follows, or else in the record itself.
        """
        sources = self._sources()
        try:
            for source in sources:
                if source.first_revision == revision + 1:
                    with opened_source(self._file_system, source) as file:
                        header = read_own_header(file, self._store_id, source.first_revision)
                        return header.predecessor_digest
            return next((record.digest for record in read(revision, revision)), None)
        except (CorruptionError, CompactedError, FileNotFoundError):
            return None

    def disk_usage(self) -> dict[str, int]:
        """Return how many files of each kind there are, and their bytes.

        What a compaction moves or removes meanwhile may be left out, or be counted twice.
        """
        segments = list_segments(self._file_system, self._path)
        archived = list_archived(self._file_system, self._path)
        checkpoints = list_checkpoints(self._file_system, self._path)
        checkpoints += list_rungs(self._file_system, self._path)
        usage = []
        for found in (segments, archived, checkpoints):
            sizes = list(self._sizes_bytes([file.path for file in found]))
            usage += [len(sizes), sum(sizes)]
        return dict(zip(DISK_USAGE, usage, strict=True))

    def _sizes_bytes(self, paths: list[str]) -> Iterator[int]:
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                yield self._file_system.size_bytes(path)
