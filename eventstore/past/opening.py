"""Opening a segment to read here and there in it, wherever a compaction has moved it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from eventstore.errors import CompactedError, CorruptionError
from eventstore.files.failures import is_no_file, unreadable_is_damage
from eventstore.log.reader import Position, read_own_header
from eventstore.log.search import read_record
from eventstore.log.segments import ReadOnlyFile, list_sources, open_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.files.interface import File, FileSystem
    from eventstore.format.segment import SegmentHeader
    from eventstore.log.segments import SegmentSource

_OPEN_ATTEMPTS = 10
RECORD_AHEAD_BYTES = 2 * 1024
"""Most records are shorter, and of an archived segment what is not read need not be unpacked."""
BLOCK_AHEAD_BYTES = 32 * 1024
"""Where records are read one after the other."""


class OpenSegment(ReadOnlyFile):
    """A segment of which records are read at known places, with a little read ahead."""

    def __init__(
        self, file: File, header: SegmentHeader, ahead_bytes: int = RECORD_AHEAD_BYTES
    ) -> None:
        self.path = file.path
        self.file = file
        self.header = header
        self._ahead_bytes = ahead_bytes
        self._start_bytes = 0
        self._ahead = b""

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        start = offset_bytes - self._start_bytes
        if start < 0 or start + size_bytes > len(self._ahead):
            self._ahead = self.file.read(offset_bytes, max(size_bytes, self._ahead_bytes))
            self._start_bytes, start = offset_bytes, 0
        return self._ahead[start : start + size_bytes]

    def size_bytes(self) -> int:
        """Return the file's length."""
        return self.file.size_bytes()

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        self.file.close()

    def position_behind(self, offset_bytes: int) -> Position | None:
        """Return the position behind the record that starts there; None if none does."""
        record = read_record(self, self.header, offset_bytes)
        if record is None:
            return None
        return Position(record.end_bytes, record.revision, record.digest, record.time_ns)


@contextmanager
def opened_segment(
    file_system: FileSystem,
    path: str,
    store_id: bytes,
    source: SegmentSource,
    ahead_bytes: int = RECORD_AHEAD_BYTES,
) -> Iterator[OpenSegment]:
    """Open a segment, which compaction may have moved to the archive since it was listed.

    Args:
        file_system: that the store is on.
        path: of the store.
        store_id: of the store.
        source: the segment.
        ahead_bytes: how much is read at least.

    Raises:
        CompactedError: it is no longer kept.
        CorruptionError: it is damaged, or another one's.
    """
    file = _opened(file_system, path, source)
    try:
        header = read_own_header(file, store_id, source.first_revision)
        yield OpenSegment(file, header, ahead_bytes)
    finally:
        file.close()


def _opened(file_system: FileSystem, path: str, source: SegmentSource) -> File:
    for _ in range(_OPEN_ATTEMPTS):
        try:
            with unreadable_is_damage(source.path, is_no_file):
                return open_places(file_system, source)
        except FileNotFoundError:
            sources = list_sources(file_system, path)
            found = [each for each in sources if each.first_revision == source.first_revision]
            if not found:
                oldest = sources[0].first_revision if sources else source.first_revision + 1
                raise CompactedError(source.first_revision, oldest) from None
            [source] = found
    raise CorruptionError(path, 0, f"segment {source.path} is listed but not there")
