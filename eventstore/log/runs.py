"""What can still be read of a damaged segment: runs of records, and the bytes between them.

A run is a stretch of records that stand one after the other and continue each other's digest. It
ends at damage; behind that the next whole record is looked for. Such a record is a run of its
own, since what it continues is lost: it counts once something is found that it continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore import format as layout
from eventstore.errors import CorruptionError
from eventstore.log.reader import (
    Position,
    Record,
    SegmentScanner,
    read_segment_header,
    start_of,
    whole_records,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.filesystem import File
    from eventstore.log.segments import SegmentSource

UNKNOWN = b""
"""In the place of a digest: not known."""

_UINT32_MAX = 2**32 - 1
_SLICE_BYTES = 1024 * 1024
_NO_RECORD = "there is no whole record"


class Run(NamedTuple):
    """Records that stand one after the other and continue each other.

    Attributes:
        source: the file they are in.
        header: of that file, or one to read it with if its own is damaged.
        start: before the first one; where its digest is not known, there is only one record.
        end: behind the last one.
    """

    source: SegmentSource
    header: layout.SegmentHeader
    start: Position
    end: Position


class Gap(NamedTuple):
    """Bytes of a segment that are no part of a record that holds.

    Attributes:
        offset_bytes: where they start.
        size_bytes: how many they are.
        reason: what is wrong with them.
    """

    offset_bytes: int
    size_bytes: int
    reason: str


class SegmentRuns:
    """Reads all runs of a segment.

    Attributes:
        header: the segment's own; None if it is damaged.
        runs: in the order in which they stand; some may be empty.
        gaps: everything else that is not zero behind the last record.
    """

    def __init__(
        self, source: SegmentSource, file: File, is_wanted: Callable[[Record], bool]
    ) -> None:
        """Prepare; `read` reads.

        Args:
            source: of the file.
            file: open.
            is_wanted: called once with each record that holds; one that is refused is damage.

        Raises:
            FormatVersionError: the segment has a newer format.
        """
        self.runs: list[Run] = []
        self.gaps: list[Gap] = []
        self.header: layout.SegmentHeader | None = None
        self._source = source
        self._file = file
        self._is_wanted = is_wanted
        try:
            self.header = read_segment_header(file)
        except CorruptionError as error:
            size_bytes = min(layout.SEGMENT_HEADER_BYTES, file.size_bytes())
            self.gaps.append(Gap(0, size_bytes, error.reason))

    def read(self, store_id: bytes) -> None:
        """Find all runs and gaps; records of another store are none."""
        offset, problem = layout.SEGMENT_HEADER_BYTES, _NO_RECORD
        header = self.header
        if header is None:
            cap = min(self._file.size_bytes(), _UINT32_MAX)
            header = layout.SegmentHeader(store_id, 0, UNKNOWN, 0, cap, 0)
        else:
            offset, problem = self._add_run(header, start_of(header))
        while record := self._next_record(header, offset):
            self._add_gap_before(record, offset, problem)
            start = Position(record.offset_bytes, record.revision - 1, UNKNOWN, 0)
            end = Position(_end_of(record), record.revision, record.digest, record.time_ns)
            self.runs.append(Run(self._source, header, start, end))
            offset, problem = self._add_run(header, end)
        last_byte = _last_byte(self._file)
        if last_byte > offset:
            self.gaps.append(Gap(offset, last_byte - offset, problem))

    def _add_run(self, header: layout.SegmentHeader, start: Position) -> tuple[int, str]:
        """Add the run from a position on; return where it ends and why."""
        end = start
        scanner = SegmentScanner(self._file, header, start)
        problem = None
        for record in scanner:
            if not self._is_wanted(record):
                problem = "the payload of a record is no batch"
                break
            end = scanner.position
        if scanner.end is not None:
            problem = scanner.end.problem
        self.runs.append(Run(self._source, header, start, end))
        return end.offset_bytes, problem or _NO_RECORD

    def _next_record(self, header: layout.SegmentHeader, offset: int) -> Record | None:
        return next(filter(self._is_wanted, whole_records(self._file, header, offset)), None)

    def _add_gap_before(self, record: Record, offset: int, problem: str) -> None:
        if record.offset_bytes > offset:
            self.gaps.append(Gap(offset, record.offset_bytes - offset, problem))
            return
        # The scan ended at this very record, although it is whole.
        end = _end_of(record)
        padding = record.offset_bytes + layout.RECORD_HEADER_BYTES + len(record.payload)
        if any(self._file.read(padding, end - padding)):
            self.gaps.append(Gap(padding, end - padding, problem))
        elif problem != _NO_RECORD:
            self.gaps.append(Gap(offset, end - offset, problem))


def _end_of(record: Record) -> int:
    return record.offset_bytes + layout.record_bytes(len(record.payload))


def _last_byte(file: File) -> int:
    """Return where the zeros at the end of a file begin."""
    end = file.size_bytes()
    while end:
        start = max(0, end - _SLICE_BYTES)
        data = file.read(start, end - start).rstrip(b"\0")
        if data:
            return start + len(data)
        end = start
    return 0
