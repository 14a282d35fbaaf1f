"""Looking for records behind invalid bytes, where no scan can tell any more where one starts.

Every record of a segment starts with the segment's *mark*: 8 random bytes, none of them zero, that
the writer lets no payload of that segment hold. So where the mark stands on the grid of 8 bytes, a
record starts, or once did; what is inside a payload is never taken for one. Whether it is one is
said by the checksums, which are seeded with the store id. The digest can't be checked here, since
the chain is broken.

A segment of version 1 has no marks: any place on the grid may be a record's start, and a payload
may hold what looks like a record. What lies within a record whose header holds is left out. Behind
a header that does not hold nobody knows where the record ends, so that all that is found from there
on is *uncertain*; what that means is up to the caller.

Cost: linear in what is left of the file. No payload is read twice: with marks, a record that
reaches over the next header is none; without, the search gives up once it has read as much in
vain as the file is long.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from eventstore.format.segment import (
    MARK_BYTES,
    RECORD_ALIGNMENT_BYTES,
    RECORD_HEADER_BYTES,
    SEGMENT_BYTES_LIMIT,
    SEGMENT_HEADER_BYTES,
    Framing,
    RecordHeader,
    SegmentHeader,
    padded_bytes,
    payload_holds,
    peek_payload_bytes,
    record_seed,
    unpack_record_header,
)
from eventstore.log.reader import Position, Record, large_payload_holds
from eventstore.options import BATCH_BYTES_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.files.interface import File

_SLICE_BYTES = 1024 * 1024
_GRID_BYTES = RECORD_ALIGNMENT_BYTES


class Found(NamedTuple):
    """A whole record, whatever stands before it.

    Attributes:
        record: what was found.
        header: of the record.
        is_certain: whether a record was written at this place; else it may be inside another's
            payload.
    """

    record: Record
    header: RecordHeader
    is_certain: bool


def highest_durable_claim(file: File, header: SegmentHeader, end: Position) -> int:
    """Return the highest durable revision stated by any record header behind a scan's end.

    Such a header was written after its durable revision had been synced, so it tells whether the
    invalid bytes before it can hold an acknowledged batch. It need not be followed by its whole
    payload for that. A revision that the segment has no room for is none.

    Returns:
        0 if there is no such header.
    """
    framing = header.framing
    records_max = (file.size_bytes() - SEGMENT_HEADER_BYTES) // framing.record_bytes(1)
    last = header.first_revision + records_max - 1
    search = _HeaderSearch(file, framing, header.batch_bytes_max)
    offset = end.offset_bytes
    claim = 0
    while place := search.first(offset):
        start, found = place
        if end.revision < found.revision <= last and found.durable_revision < found.revision:
            claim = max(claim, found.durable_revision)
        offset = start + _GRID_BYTES
        if not framing.mark and (start, found.revision) == (end.offset_bytes, end.revision + 1):
            # The next record, and only its payload is damaged: what is inside that claims nothing.
            offset = start + framing.record_bytes(found.payload_bytes)
    return claim


def whole_records(file: File, header: SegmentHeader, offset_bytes: int) -> Iterator[Found]:
    """Yield the whole records at or after an offset, at which a record is expected, in order."""
    if header.mark:
        yield from _marked_records(file, header, offset_bytes)
    else:
        yield from _unmarked_records(file, header, offset_bytes)


def read_record(file: File, header: SegmentHeader, offset_bytes: int) -> Record | None:
    """Return the record at an offset if it is whole."""
    framing = header.framing
    block = file.read(offset_bytes, framing.header_bytes)
    if len(block) < framing.header_bytes:
        return None
    found = unpack_record_header(block, framing)
    return found and _whole(file, framing, offset_bytes, found)


def end_of_content(file: File, start_bytes: int) -> int:
    """Return where the zeros at the end of a segment begin, seen from a place on."""
    last = start_bytes
    end = min(file.size_bytes(), SEGMENT_BYTES_LIMIT)
    for start in range(start_bytes, end, _SLICE_BYTES):
        data = file.read(start, min(_SLICE_BYTES, end - start)).rstrip(b"\0")
        if data:
            last = start + len(data)
    return last


def find_mark(file: File, store_id: bytes) -> tuple[bytes, bool]:
    """Return the mark of a segment whose own header is damaged, and whether it is sure.

    It is sure where the first record's header holds. Else it is the one that most headers on the
    grid have, each of which states it by itself; a payload may hold such headers too.
    """
    framing = Framing(record_seed(store_id), b"", may_redact=True)
    size = min(file.size_bytes(), SEGMENT_BYTES_LIMIT)
    votes: Counter[bytes] = Counter()
    for start in range(SEGMENT_HEADER_BYTES, size, _SLICE_BYTES):
        window = file.read(start, _SLICE_BYTES + RECORD_HEADER_BYTES)
        if not window.rstrip(b"\0"):
            continue  # what is left of a sparse file would take a minute for each GiB
        for place in range(0, min(len(window), _SLICE_BYTES), _GRID_BYTES):
            mark = _stated_mark(window, place, framing)
            if mark is None:
                continue
            if start + place == SEGMENT_HEADER_BYTES:
                return mark, True
            votes[mark] += 1
    return max(votes, key=lambda mark: votes[mark], default=b""), False


def _stated_mark(window: bytes, place: int, framing: Framing) -> bytes | None:
    """Return the mark in front of a record header that holds; empty for one of version 1."""
    for mark in (window[place : place + MARK_BYTES], b""):
        if place + RECORD_HEADER_BYTES > len(window) + MARK_BYTES - len(mark) or 0 in mark:
            continue
        # First what takes little time: each place is looked at.
        length = peek_payload_bytes(window, place + len(mark))
        if not 0 < length <= BATCH_BYTES_LIMIT:
            continue
        stated = framing._replace(mark=mark)
        if unpack_record_header(window[place : place + stated.header_bytes], stated):
            return mark
    return None


def _marked_records(file: File, header: SegmentHeader, offset_bytes: int) -> Iterator[Found]:
    framing = header.framing
    search = _HeaderSearch(file, framing, header.batch_bytes_max)
    size = file.size_bytes()
    place = search.first(offset_bytes)
    while place:
        offset, found = place
        place = search.first(offset + _GRID_BYTES)
        # No record holds a mark but its own.
        limit = place[0] if place else size
        if offset + framing.header_bytes + found.payload_bytes <= limit:
            record = _whole(file, framing, offset, found)
            if record is not None:
                yield Found(record, found, is_certain=True)


def _unmarked_records(file: File, header: SegmentHeader, offset_bytes: int) -> Iterator[Found]:
    framing = header.framing
    search = _HeaderSearch(file, framing, header.batch_bytes_max)
    left_bytes = file.size_bytes()
    offset, is_certain = offset_bytes, True
    while left_bytes > 0 and (place := search.first(offset)):
        is_certain = is_certain and place[0] == offset
        offset, found = place
        record = _whole(file, framing, offset, found)
        if record is not None:
            yield Found(record, found, is_certain=is_certain)
        if record is not None or is_certain:
            offset += framing.record_bytes(found.payload_bytes)
        else:
            offset += _GRID_BYTES
            left_bytes -= found.payload_bytes


def _whole(file: File, framing: Framing, offset_bytes: int, header: RecordHeader) -> Record | None:
    """Return the record with a header that holds, if its payload does."""
    start = offset_bytes + framing.header_bytes
    if start + header.payload_bytes > file.size_bytes():
        return None
    if not large_payload_holds(file, header, offset_bytes, framing):
        return None
    payload = file.read(start, header.payload_bytes)
    if not payload_holds(header, payload, framing.seed):
        return None
    return Record(
        offset_bytes,
        header.revision,
        header.time_ns,
        header.durable_revision,
        header.digest,
        payload,
        file.path,
        start + padded_bytes(header.payload_bytes),
        header.is_redacted,
    )


class _HeaderSearch:
    """Finds the next record header that holds, going forwards through a segment."""

    def __init__(self, file: File, framing: Framing, payload_bytes_max: int) -> None:
        self._file = file
        self._framing = framing
        self._payload_bytes_max = payload_bytes_max
        self._start_bytes = 0
        self._slice = b""
        # Before the zeros at its end, where no header starts.
        self._content_bytes = 0

    def first(self, offset_bytes: int) -> tuple[int, RecordHeader] | None:
        """Return the first place on the grid at or after another where a header holds."""
        header_bytes = self._framing.header_bytes
        offset = offset_bytes
        while True:
            at = offset - self._start_bytes
            if at + header_bytes > len(self._slice):
                self._start_bytes, at = offset, 0
                # A longer file is no segment, and may be a sparse one without an end.
                limit = max(0, SEGMENT_BYTES_LIMIT - offset)
                self._slice = self._file.read(offset, min(_SLICE_BYTES, limit))
                self._content_bytes = len(self._slice.rstrip(b"\0"))
                if len(self._slice) < header_bytes:
                    return None
            at = self._candidate(at)
            offset = self._start_bytes + at
            if at + header_bytes > len(self._slice):
                continue
            header = unpack_record_header(self._slice[at : at + header_bytes], self._framing)
            if header is not None and header.payload_bytes <= self._payload_bytes_max:
                return offset, header
            offset += _GRID_BYTES

    def _candidate(self, at: int) -> int:
        """Return the next place in the slice where a header may start, or one behind the last."""
        mark, behind_last = self._framing.mark, len(self._slice) - self._framing.header_bytes + 1
        if not mark:
            return self._likely_place(at, behind_last)
        at = self._slice.find(mark, at)
        while at % _GRID_BYTES and at >= 0:
            at = self._slice.find(mark, at + 1)
        return at if 0 <= at < behind_last else _on_grid(behind_last)

    def _likely_place(self, at: int, behind_last: int) -> int:
        """Judge by the length: a slice has 131,072 places, and this takes a fifth of a checksum."""
        for place in range(at, min(behind_last, self._content_bytes), _GRID_BYTES):
            if 0 < peek_payload_bytes(self._slice, place) <= self._payload_bytes_max:
                return place
        return _on_grid(behind_last)


def _on_grid(offset_bytes: int) -> int:
    """Return the first place on the grid at or after an offset."""
    return offset_bytes + -offset_bytes % _GRID_BYTES
