"""The index of a segment as it is read from its file, a page at a time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from eventstore.format.blocks import MalformedError
from eventstore.format.index import (
    ANCHORS_PER_PAGE,
    INDEX_PREFIX_BYTES,
    RECORDS_PER_ANCHOR,
    index_header_bytes,
    offset_in,
    posting_range,
    unpack_index_header,
    unpack_values,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventstore.files.interface import File
    from eventstore.format.index import IndexHeader, IndexLayout


class Anchor(NamedTuple):
    """A record whose place and time an index states.

    Attributes:
        revision: of the batch.
        offset_bytes: where the record starts.
        time_ns: of the batch.
    """

    revision: int
    offset_bytes: int
    time_ns: int


class PackedIndex:
    """Looks things up in an index; the file is open only while it does.

    Every method raises `MalformedError` where the index is damaged and `OSError` where it can't be
    read; it is then as good as none.
    """

    def __init__(self, opened: Callable[[], File]) -> None:
        """Read the header and the fences.

        Args:
            opened: opens the file.
        """
        self._opened = opened
        file = opened()
        try:
            size = index_header_bytes(file.read(0, INDEX_PREFIX_BYTES))
            self._layout: IndexLayout = unpack_index_header(file.read(0, size))
            if self._layout.size_bytes != file.size_bytes():
                raise MalformedError(0, "the index has another length than its header states")
            self._fences = unpack_values(file.read(*self._layout.fences()), self._layout.seed)
        finally:
            file.close()

    @property
    def header(self) -> IndexHeader:
        """What the index covers."""
        return self._layout.header

    @property
    def last_revision(self) -> int:
        """The last record that it covers."""
        return self._layout.header.last_revision

    def offsets(self, hashed: int) -> list[int]:
        """Return where records start that may have a term, in order."""
        least, beyond = posting_range(hashed)
        found: list[int] = []
        number = max(0, bisect_left(self._fences, least) - 1)
        file = self._opened()
        try:
            while number < len(self._fences) and self._fences[number] < beyond:
                page = self._page(file, self._layout.postings_page(number))
                start, stop = bisect_left(page, least), bisect_left(page, beyond)
                found += map(offset_in, page[start:stop])
                number += 1
        finally:
            file.close()
        return found

    def anchors(self, first: int, last: int) -> list[Anchor]:
        """Return the anchors with these numbers, as far as there are any."""
        last = min(last, self._layout.anchor_count - 1)
        if first > last:
            return []
        file = self._opened()
        try:
            found: list[Anchor] = []
            for number in range(first // ANCHORS_PER_PAGE, last // ANCHORS_PER_PAGE + 1):
                page = self._page(file, self._layout.anchors_page(number))
                start = number * ANCHORS_PER_PAGE
                found += (
                    Anchor(
                        self.header.first_revision + (start + at) * RECORDS_PER_ANCHOR,
                        page[2 * at],
                        page[2 * at + 1],
                    )
                    for at in range(max(0, first - start), min(len(page) // 2, last + 1 - start))
                )
            return found
        finally:
            file.close()

    def last_not_after(self, time_ns: int) -> Anchor | None:
        """Return the last anchor whose time is not after another; None if the first one is."""
        before, after = -1, self._layout.anchor_count
        while after - before > 1:
            middle = (before + after) // 2
            [anchor] = self.anchors(middle, middle)
            if anchor.time_ns <= time_ns:
                before = middle
            else:
                after = middle
        return self.anchors(before, before)[0] if before >= 0 else None

    def postings(self) -> Iterator[int]:
        """Yield all postings, in ascending order."""
        file = self._opened()
        try:
            for number in range(len(self._fences)):
                yield from self._page(file, self._layout.postings_page(number))
        finally:
            file.close()

    def _page(self, file: File, place: tuple[int, int]) -> Sequence[int]:
        return unpack_values(file.read(*place), self._layout.seed)


def number_of(anchors: list[Anchor], time_ns: int) -> int:
    """Return how many of the anchors are not after a time."""
    return bisect_right(anchors, time_ns, key=lambda anchor: anchor.time_ns)
