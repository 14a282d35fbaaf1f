"""What can still be read of a damaged segment: stretches of records, and the bytes between them.

A stretch is a stretch of records that stand one after the other and continue each other's digest.
It ends at damage; behind that the next whole record is looked for. Such a record is a stretch of
its own, since what it continues is lost: it counts once something is found that it continues.

Where it is not certain that a record was written at that place (`eventstore.log.search`), it is
never believed: it may be part of another one's payload, made to continue a known digest. What
continues it is a stretch all the same, which counts once its first digest is known from elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError
from eventstore.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader, record_digest
from eventstore.log.reader import (
    Position,
    Record,
    misfit,
    next_header,
    read_segment_header,
    start_of,
)
from eventstore.log.search import end_of_content, find_mark, whole_records
from eventstore.options import BATCH_BYTES_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import File
    from eventstore.log.search import Found
    from eventstore.log.segments import SegmentSource

UNKNOWN = b""
"""In the place of a digest: not known."""


class Stretch(NamedTuple):
    """Records that stand one after the other and continue each other.

    Attributes:
        source: the file they are in.
        header: of that file, or one to read it with if its own is damaged.
        start: before the first one; where its digest is not known, there is only one record.
        end: behind the last one.
    """

    source: SegmentSource
    header: SegmentHeader
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


class SegmentStretches:
    """Reads all stretches of a segment.

    Attributes:
        header: the segment's own; None if it is damaged.
        stretches: in the order in which they stand; some may be empty.
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
        self.stretches: list[Stretch] = []
        self.gaps: list[Gap] = []
        self.header: SegmentHeader | None = None
        self._source = source
        self._file = file
        self._is_wanted = is_wanted
        try:
            self.header = read_segment_header(file)
        except CorruptionError as error:
            size_bytes = min(SEGMENT_HEADER_BYTES, file.size_bytes())
            self.gaps.append(Gap(0, size_bytes, error.reason))

    def read(self, store_id: bytes) -> None:
        """Find all stretches and gaps; records of another store are none."""
        header, is_framed = self.header, True
        if header is None:
            header, is_framed = self._stand_in(store_id)
        start = start_of(header)
        end, refused = start, None
        for found in whole_records(self._file, header, start.offset_bytes):
            record = found.record
            if not self._is_wanted(record):
                refused = "the payload of a record is no batch"
                continue
            after = Position(record.end_bytes, record.revision, record.digest, record.time_ns)
            if record.offset_bytes > end.offset_bytes:
                is_certain = found.is_certain and is_framed
                until = record.offset_bytes if is_certain else record.end_bytes
                problem = refused or self._problem_at(header, end)
                self.gaps.append(Gap(end.offset_bytes, until - end.offset_bytes, problem))
            else:
                is_certain = is_framed
                gap = self._discontinuity(found, header, end)
                if gap is None:
                    end = after
                    continue
                self.gaps += [gap] if end.digest != UNKNOWN else []
            self._close_run(header, start, end)
            if is_certain:
                before = Position(record.offset_bytes, record.revision - 1, UNKNOWN, 0)
                self.stretches.append(Stretch(self._source, header, before, after))
            start, end, refused = after, after, None
        self._close_run(header, start, end)
        size_bytes = end_of_content(self._file, end.offset_bytes) - end.offset_bytes
        if size_bytes > 0:
            problem = refused or self._problem_at(header, end)
            self.gaps.append(Gap(end.offset_bytes, size_bytes, problem))

    def _stand_in(self, store_id: bytes) -> tuple[SegmentHeader, bool]:
        """Return a header to read the segment with, and whether its mark is sure."""
        cap = min(self._file.size_bytes(), BATCH_BYTES_LIMIT)
        mark, is_sure = find_mark(self._file, store_id)
        return SegmentHeader(store_id, 1, UNKNOWN, 0, cap, 0, mark, bool(mark)), is_sure

    def _close_run(self, header: SegmentHeader, start: Position, end: Position) -> None:
        if start.digest != UNKNOWN:
            self.stretches.append(Stretch(self._source, header, start, end))

    def _discontinuity(self, found: Found, header: SegmentHeader, end: Position) -> Gap | None:
        """Return what is damaged if a record right behind a stretch does not continue it."""
        record, offset = found.record, end.offset_bytes
        problem = misfit(found.header, end, header.batch_bytes_max)
        if not problem and record_digest(found.header, record.payload, end.digest) != (
            record.digest
        ):
            problem = "the record does not continue the digest chain"
        if not problem:
            offset += header.framing.header_bytes + found.header.payload_bytes
            padding = self._file.read(offset, record.end_bytes - offset)
            if any(padding):
                problem = "the padding of a record is not zero"
            elif len(padding) < record.end_bytes - offset:
                problem = "the file ends inside a record"
        return Gap(offset, record.end_bytes - offset, problem) if problem else None

    def _problem_at(self, header: SegmentHeader, end: Position) -> str:
        """Say what is wrong with the bytes at a place where no whole record is."""
        if end.digest == UNKNOWN:
            return "there is no whole record"
        block = self._file.read(end.offset_bytes, header.framing.header_bytes)
        found = next_header(block, header.framing, end, header.batch_bytes_max)
        if found is None:
            return "a record header is zero although bytes follow it"
        return found if isinstance(found, str) else "the payload fails its checksum"
