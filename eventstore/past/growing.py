"""The index of a segment while it is made: of the active one, in memory.

It may stand on an index in a file that covers the first records, and then holds the later ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.format.index import (
    RECORDS_PER_ANCHOR,
    IndexHeader,
    offset_in,
    pack_index,
    posting,
    posting_range,
)
from eventstore.log.reader import Position
from eventstore.past.packed import Anchor, number_of
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from eventstore.event import Batch
    from eventstore.format.segment import SegmentHeader
    from eventstore.log.reader import Record
    from eventstore.past.packed import PackedIndex
    from eventstore.past.terms import Terms


class GrowingIndex:
    """Takes records in, and looks them up.

    Attributes:
        last_revision: the last record that it covers.
        base: the index that covers the records before those taken in here.
    """

    def __init__(
        self,
        terms: Terms,
        header: SegmentHeader,
        position: Position,
        base: PackedIndex | None = None,
    ) -> None:
        """Begin at a position.

        Args:
            terms: hashes what batches can be looked up by.
            header: of the segment.
            position: at the segment's start, or behind the last record of `base`.
            base: the index to stand on.
        """
        # In parts: to build a position for each record takes longer.
        self._end_bytes, self.last_revision, self._digest, self._time_ns = position
        self.base = base
        self._terms = terms
        self._header = header
        self._last_bytes = base.header.last_bytes if base is not None else 0
        self._anchors: list[Anchor] = []
        first_anchor = self._anchor_count(position.revision)
        self._first_anchor = first_anchor
        self._block_bytes = 0
        if base is not None and first_anchor:
            self._block_bytes = base.anchors(first_anchor - 1, first_anchor - 1)[0].offset_bytes
        self._postings: list[int] = []
        self._block_terms: set[int] = set()
        # For look-ups: what of the postings was sorted in, by hash.
        self._offsets: dict[int, list[int]] = {}
        self._looked_up = 0

    @property
    def position(self) -> Position:
        """Behind the last record taken in."""
        return Position(self._end_bytes, self.last_revision, self._digest, self._time_ns)

    @property
    def batch_count(self) -> int:
        """How many batches were taken in."""
        base = self._header.first_revision - 1 if self.base is None else self.base.last_revision
        return self.last_revision - base

    def add(self, record: Record, batch: Batch | None = None) -> None:
        """Take in the next record.

        Args:
            record: the next one.
            batch: that is in it, where that is known.

        Raises:
            CorruptionError: it is no batch.
            ProjectionError: a projection can't say what it is about.
        """
        batch = batch or decode_record(record)
        keys, traits = self._terms.keys(batch), self._terms.traits(batch)
        revision, offset_bytes = record.revision, record.offset_bytes
        if (revision - self._header.first_revision) % RECORDS_PER_ANCHOR == 0:
            self._anchors.append(Anchor(revision, offset_bytes, record.time_ns))
            self._block_bytes = offset_bytes
            self._block_terms = set()
        self._postings += [posting(hashed, offset_bytes) for hashed in keys]
        if not traits <= self._block_terms:
            new = traits - self._block_terms
            self._postings += [posting(hashed, self._block_bytes) for hashed in new]
            self._block_terms |= new
        self._last_bytes, self._end_bytes = offset_bytes, record.end_bytes
        self.last_revision, self._digest, self._time_ns = revision, record.digest, record.time_ns

    def offsets(self, hashed: int) -> list[int]:
        """Return where records start that may have a term, in order."""
        for value in self._postings[self._looked_up :]:
            self._offsets.setdefault(value // posting_range(1)[0], []).append(offset_in(value))
        self._looked_up = len(self._postings)
        found = self._offsets.get(hashed, [])
        if self.base is None:
            return list(found)
        before = self.base.offsets(hashed)
        # The block that the two share may stand in both.
        return before + [offset for offset in found if not before or offset > before[-1]]

    def anchors(self, first: int, last: int) -> list[Anchor]:
        """Return the anchors with these numbers, as far as there are any."""
        found = []
        if self.base is not None and first < self._first_anchor:
            found = self.base.anchors(first, min(last, self._first_anchor - 1))
        start = max(0, first - self._first_anchor)
        return found + self._anchors[start : max(start, last + 1 - self._first_anchor)]

    def last_not_after(self, time_ns: int) -> Anchor | None:
        """Return the last anchor whose time is not after another; None if the first one is."""
        count = number_of(self._anchors, time_ns)
        if count:
            return self._anchors[count - 1]
        return self.base.last_not_after(time_ns) if self.base is not None else None

    def pack(self) -> bytes:
        """Return the index of all records so far, as its file holds it."""
        header = IndexHeader(
            self._header.store_id,
            self._header.first_revision,
            self.last_revision,
            self._last_bytes,
            self._digest,
            self._terms.declared,
        )
        anchors = self.anchors(0, self._anchor_count(self.last_revision))
        postings = sorted(set(self._postings))
        if self.base is not None:
            # Two ascending runs, which the sort finds and merges.
            postings = list(dict.fromkeys(sorted([*self.base.postings(), *postings])))
        pairs = [(anchor.offset_bytes, anchor.time_ns) for anchor in anchors]
        return pack_index(header, pairs, postings)

    def _anchor_count(self, last_revision: int) -> int:
        """Return how many anchors the records up to a revision have."""
        return -(-(last_revision + 1 - self._header.first_revision) // RECORDS_PER_ANCHOR)
