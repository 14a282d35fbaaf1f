"""A cursor reads records in order, across segments and out of the archive, and can go on later.

It keeps its place in the digest chain from one call to the next, so that a log which forked or
shrank since the last look is refused, and it finds its place again when compaction moves the
segment that it was about to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.directory.contents import require_store
from eventstore.errors import CompactedError, CorruptionError
from eventstore.files.failures import is_no_file, unreadable_is_damage
from eventstore.files.paths import join
from eventstore.format.names import WAL_NAME
from eventstore.log.reader import (
    Position,
    Record,
    SegmentScanner,
    read_own_header,
    start_of,
)
from eventstore.log.segments import SegmentSource, list_sources, open_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eventstore.files.interface import File, FileSystem
    from eventstore.format.segment import SegmentHeader

_OPEN_ATTEMPTS = 10


class RecordCursor:
    """Reads the records of a store from a revision on.

    Args:
        file_system: to read the store by.
        path: of the store.
        store_id: of the store: the bytes of another one are no history of this.
        next_revision: the first record to give out.
        previous_digest: chain digest before it, if known; it is then checked.
        seek: returns a position behind a record of a segment, before the first one to give out,
            to begin there; None to begin at the segment's start.
    """

    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        store_id: bytes,
        next_revision: int,
        previous_digest: bytes | None = None,
        seek: Callable[[SegmentSource, File, SegmentHeader], Position | None] | None = None,
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._store_id = store_id
        self.next_revision = next_revision
        self._previous_digest = previous_digest
        self._seek = seek
        self._file: File | None = None
        self._header: SegmentHeader | None = None
        self._position: Position | None = None

    def read(self, last_revision: int) -> Iterator[Record]:
        """Yield the records up to a revision, all of which must be durable.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a record is damaged or missing, or the history is another one than
                what this cursor has read before.
        """
        while self.next_revision <= last_revision:
            file, header, position = self._opened()
            scanner = SegmentScanner(file, header, position)
            for record in scanner:
                self._position = scanner.position
                if record.revision < self.next_revision:
                    self._check_skipped(file, record)
                    continue
                self.next_revision = record.revision + 1
                yield record
                if record.revision >= last_revision:
                    return
            self._leave(file, header, scanner, last_revision)

    def close(self) -> None:
        """Release the segment; `read` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _check_skipped(self, file: File, record: Record) -> None:
        """Check that the batch before the first one to be read is the one that is known."""
        if record.revision == self.next_revision - 1 and (
            self._previous_digest not in (None, record.digest)
        ):
            raise CorruptionError(
                file.path,
                record.offset_bytes,
                f"revision {record.revision} is not the batch that it was when it was last read",
            )

    def _opened(self) -> tuple[File, SegmentHeader, Position]:
        if self._file is None or self._header is None or self._position is None:
            file, source = self._open_segment()
            try:
                header = read_own_header(file, self._store_id, source.first_revision)
                position = self._enter(source, file, header)
            except BaseException:
                file.close()
                raise
            self._file, self._header, self._position = file, header, position
        return self._file, self._header, self._position

    def _open_segment(self) -> tuple[File, SegmentSource]:
        for _ in range(_OPEN_ATTEMPTS):
            source = self._find()
            try:
                with unreadable_is_damage(source.path, is_no_file):
                    return open_places(self._file_system, source), source
            except FileNotFoundError:
                continue  # compaction moved it between the two calls
        raise CorruptionError(self._path, 0, f"segment {source.path} is listed but not there")

    def _find(self) -> SegmentSource:
        sources = list_sources(self._file_system, self._path)
        fitting = [source for source in sources if source.first_revision <= self.next_revision]
        if fitting:
            return fitting[-1]
        if sources:
            raise CompactedError(self.next_revision, sources[0].first_revision)
        require_store(self._file_system, self._path, may_create=False)
        raise CorruptionError(join(self._path, WAL_NAME), 0, "all segments are missing")

    def _enter(self, source: SegmentSource, file: File, header: SegmentHeader) -> Position:
        """Return where to read in a newly opened segment, which must continue the last one."""
        previous, start = self._position, start_of(header)
        known_digest = previous.digest if previous is not None else self._previous_digest
        if (
            start.revision + 1 == self.next_revision
            and known_digest is not None
            and known_digest != start.digest
        ):
            raise CorruptionError(source.path, 0, "the segment continues another history")
        if previous is not None and previous.revision >= header.first_revision:
            return previous
        sought = self._seek(source, file, header) if self._seek is not None else None
        return sought or start

    def _leave(
        self, file: File, header: SegmentHeader, scanner: SegmentScanner, last_revision: int
    ) -> None:
        """Close a segment that is read to its end; the next record must be in a later one."""
        position = scanner.position
        problem = scanner.end.problem if scanner.end else None
        sources = list_sources(self._file_system, self._path)
        if not problem and sources and sources[0].first_revision > self.next_revision:
            raise CompactedError(self.next_revision, sources[0].first_revision)
        # A segment without a record is named by the revision that it lacks: it is not the next.
        is_continued = self.next_revision > header.first_revision and any(
            source.first_revision == self.next_revision for source in sources
        )
        if problem or not is_continued:
            raise CorruptionError(
                file.path,
                position.offset_bytes,
                f"{problem or 'the log ends'} after revision {position.revision}, but revision "
                f"{last_revision} had been acknowledged",
            )
        self._position = position
        self.close()
