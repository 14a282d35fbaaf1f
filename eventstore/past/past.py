"""Reading the past by its indexes: from any revision or time on, backwards, and by terms.

An index says where to look. What is given out are records that were read there and hold by their
checksums; where it names a place at which none is, it is dropped and the segment read through.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from eventstore.errors import CompactedError, CorruptionError
from eventstore.files.paths import join
from eventstore.format.index import ANCHORS_PER_PAGE, RECORDS_PER_ANCHOR
from eventstore.format.names import WAL_NAME
from eventstore.log.cursor import RecordCursor
from eventstore.log.reader import start_of
from eventstore.log.search import read_record
from eventstore.log.segments import list_sources
from eventstore.past.indexes import Indexes, parts_of
from eventstore.past.opening import (
    BLOCK_AHEAD_BYTES,
    RECORD_AHEAD_BYTES,
    OpenSegment,
    opened_segment,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventstore.files.interface import File, FileSystem
    from eventstore.format.segment import SegmentHeader
    from eventstore.log.interface import Wanted
    from eventstore.log.reader import Position, Record
    from eventstore.log.segments import SegmentSource
    from eventstore.past.indexes import Index, Part
    from eventstore.past.packed import Anchor
    from eventstore.projection import Projection


class _WrongIndexError(Exception):
    """An index names a place at which no such record is."""


class Past:
    """Reads a store's records by index; any thread may."""

    def __init__(
        self,
        file_system: FileSystem,
        path: str,
        store_id: bytes,
        projections: Sequence[Projection],
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._store_id = store_id
        self.indexes = Indexes(file_system, path, store_id, projections)

    def read(self, first_revision: int, last_revision: int) -> Iterator[Record]:
        """Yield records in order, each checked to continue the digest of the one before it.

        It begins at an anchor where there is an index, else at the start of the segment.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a record is damaged.
        """
        seek = partial(self._seek, first_revision)
        return self._read(first_revision, last_revision, seek)

    def select(
        self, first_revision: int, last_revision: int, wanted: Wanted, *, reverse: bool
    ) -> Iterator[Record]:
        """Yield the records from one revision to another that may be wanted.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a record is damaged.
        """
        if first_revision > last_revision:
            return
        if not reverse and wanted == (None, None, None):
            yield from self.read(first_revision, last_revision)
            return
        sources = list_sources(self._file_system, self._path)
        if not sources:
            raise CorruptionError(join(self._path, WAL_NAME), 0, "all segments are missing")
        if sources[0].first_revision > first_revision:
            raise CompactedError(first_revision, sources[0].first_revision)
        parts = parts_of(sources, first_revision, last_revision)
        for part in reversed(parts) if reverse else parts:
            yield from self._select_in(part, wanted, reverse=reverse)

    def revision_at(self, time_ns: int, last_revision: int) -> int:
        """Return the last revision up to another whose time is not after a time.

        O(log segments), and 64 batches.

        Returns:
            the one before the oldest that is kept, if that is after the time too.
        """
        sources = list_sources(self._file_system, self._path)
        oldest = sources[0].first_revision if sources else 1
        parts = parts_of(sources, oldest, last_revision)
        before, after = -1, len(parts)
        while after - before > 1:
            middle = (before + after) // 2
            if self._starts_by(parts[middle], time_ns):
                before = middle
            else:
                after = middle
        if before < 0:
            return oldest - 1
        part = parts[before]
        anchor = self.indexes.ask(part, lambda index: index.last_not_after(time_ns))
        start = part.first if anchor is None else min(anchor.revision, part.last)
        found = self._last_by(time_ns, start, last_revision)
        if found < start and start > part.first:  # the index is wrong
            self.indexes.refuse(part.first_revision)
            found = self._last_by(time_ns, part.first, last_revision)
        return found

    def _last_by(self, time_ns: int, start: int, last_revision: int) -> int:
        """Return the last revision not after a time, read from one on; the one before if none."""
        found = start - 1
        for record in self.read(start, last_revision):
            if record.time_ns > time_ns:
                break
            found = record.revision
        return found

    def _starts_by(self, part: Part, time_ns: int) -> bool:
        with opened_segment(self._file_system, self._path, self._store_id, part.source) as segment:
            start = start_of(segment.header)
            first = read_record(segment, segment.header, start.offset_bytes)
        return first is None or first.time_ns <= time_ns

    def _read(
        self,
        first_revision: int,
        last_revision: int,
        seek: Callable[[SegmentSource, File, SegmentHeader], Position | None] | None = None,
    ) -> Iterator[Record]:
        cursor = RecordCursor(
            self._file_system, self._path, self._store_id, first_revision, seek=seek
        )
        try:
            yield from cursor.read(last_revision)
        finally:
            cursor.close()

    def _seek(
        self, first_revision: int, source: SegmentSource, file: File, header: SegmentHeader
    ) -> Position | None:
        """Return a position in a segment before a revision, from which on its chain is checked."""
        number = (first_revision - 1 - source.first_revision) // RECORDS_PER_ANCHOR
        if number < 1:
            return None

        def anchor_before(index: Index) -> list[Anchor]:
            newest = (index.last_revision - source.first_revision) // RECORDS_PER_ANCHOR
            return index.anchors(min(number, newest), min(number, newest))

        anchors = self.indexes.ask_at_hand(source, anchor_before)
        if not anchors:
            return None
        position = OpenSegment(file, header).position_behind(anchors[0].offset_bytes)
        if position is None or position.revision != anchors[0].revision:
            return None
        return position

    def _select_in(self, part: Part, wanted: Wanted, *, reverse: bool) -> Iterator[Record]:
        """Yield the records of one segment that may be wanted."""
        first, last = part.first, part.last
        try:
            for record in self._found(part, wanted, reverse=reverse):
                if reverse:
                    last = record.revision - 1
                else:
                    first = record.revision + 1
                yield record
        except _WrongIndexError:
            self.indexes.refuse(part.first_revision)
            left = self._read(first, last)
            yield from reversed(list(left)) if reverse else left

    def _found(self, part: Part, wanted: Wanted, *, reverse: bool) -> Iterator[Record]:
        """Yield the records of one segment that its index names; it is opened if there are any."""
        hashes = self._hashes(wanted)
        offsets = self._offsets(part, wanted, hashes)
        if hashes is not None and not offsets:
            return
        ahead_bytes = BLOCK_AHEAD_BYTES if wanted.keys is None else RECORD_AHEAD_BYTES
        with opened_segment(
            self._file_system, self._path, self._store_id, part.source, ahead_bytes
        ) as segment:
            if hashes is None:
                runs = self._all_blocks(part, segment, reverse=reverse)
            elif wanted.keys is not None:
                runs = _single_records(segment, sorted(offsets, reverse=reverse))
            else:
                least, most = self._bounds(part, segment)
                chosen = [offset for offset in offsets if least <= offset <= most]
                chosen.sort(reverse=reverse)
                runs = (_block(segment, part, offset) for offset in chosen)
            for records in runs:
                for record in reversed(records) if reverse else records:
                    if part.first <= record.revision <= part.last:
                        yield record

    def _hashes(self, wanted: Wanted) -> list[int] | None:
        """Return the hashes to look up; None if everything is wanted."""
        terms = self.indexes.terms
        if wanted.keys is not None:
            return terms.wanted_keys(wanted)
        return terms.wanted_traits(wanted) or None

    def _offsets(self, part: Part, wanted: Wanted, hashes: list[int] | None) -> set[int]:
        """Return where the records with any of the keys are, or the blocks with all traits."""
        if not hashes:
            return set()

        def found(index: Index) -> set[int]:
            each = [set(index.offsets(hashed)) for hashed in hashes]
            return set.union(*each) if wanted.keys is not None else set.intersection(*each)

        return self.indexes.ask(part, found)

    def _bounds(self, part: Part, segment: OpenSegment) -> tuple[int, int]:
        """Return where the first and the last block of a part start."""
        offsets = []
        for revision in (part.first, part.last):
            number = (revision - part.first_revision) // RECORDS_PER_ANCHOR
            anchors = self.indexes.ask(part, partial(_anchors, first=number, last=number))
            for anchor in anchors:
                record = read_record(segment, segment.header, anchor.offset_bytes)
                if record is None or record.revision != anchor.revision:
                    raise _WrongIndexError
                offsets.append(anchor.offset_bytes)
        least, most = offsets
        return least, most

    def _all_blocks(
        self, part: Part, segment: OpenSegment, *, reverse: bool
    ) -> Iterator[list[Record]]:
        first = (part.first - part.first_revision) // RECORDS_PER_ANCHOR
        last = (part.last - part.first_revision) // RECORDS_PER_ANCHOR
        starts = range(first, last + 1, ANCHORS_PER_PAGE)
        for start in reversed(starts) if reverse else starts:
            stop = min(start + ANCHORS_PER_PAGE - 1, last)
            anchors = self.indexes.ask(part, partial(_anchors, first=start, last=stop))
            for anchor in reversed(anchors) if reverse else anchors:
                block = _block(segment, part, anchor.offset_bytes)
                if block[0].revision != anchor.revision:
                    raise _WrongIndexError
                yield block


def _anchors(index: Index, first: int, last: int) -> list[Anchor]:
    return index.anchors(first, last)


def _single_records(segment: OpenSegment, offsets: list[int]) -> Iterator[list[Record]]:
    """Yield the records at places, each by itself."""
    for offset in offsets:
        record = read_record(segment, segment.header, offset)
        if record is None:
            raise _WrongIndexError
        yield [record]


def _block(segment: OpenSegment, part: Part, offset_bytes: int) -> list[Record]:
    """Return the records of the block that starts there, as far as the part reaches."""
    records: list[Record] = []
    while True:
        record = read_record(segment, segment.header, offset_bytes)
        if record is None or (records and record.revision != records[-1].revision + 1):
            raise _WrongIndexError
        number = (record.revision - part.first_revision) % RECORDS_PER_ANCHOR
        if not records and number:
            raise _WrongIndexError
        records.append(record)
        offset_bytes = record.end_bytes
        if number == RECORDS_PER_ANCHOR - 1 or record.revision >= part.last:
            return records
