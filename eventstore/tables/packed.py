"""The rows of a table as a checkpoint holds them: packed, sorted, immutable.

A table that was loaded from a checkpoint keeps its rows in this form under the changes made
since, so that opening a store costs a checksum of the file and one key a chunk, not a dictionary
entry a row. Measured with 1,000,000 rows of 71-byte keys and 120-byte values: building the
dictionaries takes 2.2 s, keeping the chunks 0.2 s.

A look-up finds the chunk by its first key. The chunk's keys are unpacked, and checked the first
time (about 7 µs). Where all are texts of one length, as digests are, their places are known from
then on, and a key is looked for among the bytes; to keep the unpacked ones as well would only fill
the caches of the processor. The other keys of some chunks, and what was found of late, are kept, up
to a bound: these rows never change, so that what is kept is right for ever.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, islice, pairwise
from typing import TYPE_CHECKING, Any

from eventstore.errors import CorruptionError
from eventstore.format.checkpoint import are_ends, ends_count, unpack_ends, value_place
from eventstore.format.codec import (
    DecodeError,
    pack,
    require_keys,
    text_places,
    unpack_keys,
    unpack_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CHUNK_ROWS = 64
"""Rows in a chunk as it is written: a first touch unpacks this many keys. Older files have 128."""
_FOUND_MAX = 2048
"""What was found of late is kept, of twice as many keys at the most."""
_UNPACKED_CHUNKS_MAX = 32
"""Chunks whose unpacked keys are kept."""
_ROWS_PASSED_A_SEARCH = 16
"""So many keys can be unpacked and passed in the time in which one is looked for: 3 µs."""
_FEW_ROWS = 4
"""Fewer rows than this part of a chunk are taken one by one; to take all costs a quarter a row."""


class Absent:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()
"""Stands for "no row" where None could be a value."""


class Tombstone:
    """The type of `TOMBSTONE`."""

    def __repr__(self) -> str:
        return "TOMBSTONE"


TOMBSTONE = Tombstone()
"""In a table's changed rows: the packed row under it is deleted."""


class PackedChunk:
    """Up to `CHUNK_ROWS` rows in key order.

    Args:
        first_key: the packed smallest key.
        keys: all keys, packed as one array.
        ends: for each row, where its value ends in `values`, packed (`format.pack_ends`).
        values: the packed values, one after the other.
        path: of the checkpoint, for errors.
        offset_bytes: where the chunk starts in it.

    Raises:
        DecodeError: the first key is no key.
    """

    __slots__ = (
        "_ends",
        "_is_checked",
        "_offset_bytes",
        "_packed_keys",
        "_path",
        "_text_bytes",
        "_text_start",
        "_text_step",
        "_values",
        "first_key",
    )

    def __init__(
        self,
        first_key: bytes,
        keys: bytes,
        ends: bytes,
        values: bytes,
        path: str,
        offset_bytes: int,
    ) -> None:
        self._path = path
        self._offset_bytes = offset_bytes
        self.first_key: Any = unpack_row(first_key)
        self._packed_keys = keys
        self._is_checked = False
        # Where keys that are texts of one length stand, without their headers: the first one, how
        # far they are apart, and how long each is. They are 0 where that is unknown.
        self._text_start = self._text_step = self._text_bytes = 0
        self._ends = ends
        self._values = values

    @property
    def parts(self) -> tuple[bytes, bytes, bytes, bytes]:
        """What the chunk was made of: first key, keys, ends and values."""
        return pack(self.first_key), self._packed_keys, self._ends, self._values

    @property
    def row_count(self) -> int:
        """How many values there are."""
        return ends_count(self._ends)

    def unpacked_keys(self) -> Sequence[Any]:
        """Unpack all keys, and check them the first time.

        Raises:
            CorruptionError: they are no keys, or not as many as there are values.
        """
        if self._is_checked:
            unpacked: Sequence[Any] = unpack_row(self._packed_keys)
            return unpacked
        try:
            keys = unpack_keys(self._packed_keys)
        except DecodeError as error:
            raise CorruptionError(self._path, self._offset_bytes, str(error)) from error
        if keys[:1] != [self.first_key] or not are_ends(self._ends, len(keys)):
            reason = "a chunk of rows does not hold the keys that it states"
            raise CorruptionError(self._path, self._offset_bytes, reason)
        self._is_checked = True
        start, step, size = text_places(keys, self._packed_keys)
        self._text_start, self._text_bytes = start, size
        # The last one, in a statement of its own: who finds it set, also another thread, or after
        # an interrupt, finds the others.
        self._text_step = step
        return keys

    def row(self, place: int) -> tuple[Any, bytes]:
        """Return one row: key and packed value; O(1) where all keys are texts of one length."""
        start, end = value_place(self._ends, place)
        value = self._values[start:end]
        if not self._text_step:
            return self.unpacked_keys()[place], value
        at = self._text_start + self._text_step * place
        return self._packed_keys[at : at + self._text_bytes].decode(), value

    @property
    def has_texts_of_one_length(self) -> bool:
        """Whether all keys are known to be that, so that `find` can look for one."""
        return self._text_step > 0

    def find(self, key: str) -> int:
        """Return the place of a key among texts of one length, -1 if it has none.

        Raises:
            UnicodeEncodeError: it can't be a key.
        """
        text, keys = key.encode(), self._packed_keys
        first, step, size = self._text_start, self._text_step, self._text_bytes
        if size != len(text):
            return -1
        # As bytes of UTF-8 they are in the order of the texts.
        low, high = 0, ends_count(self._ends) - 1
        while low < high:
            middle = (low + high) // 2
            at = first + step * middle
            if keys[at : at + size] < text:
                low = middle + 1
            else:
                high = middle
        at = first + step * low
        return low if keys[at : at + size] == text else -1

    def value(self, place: int) -> bytes:
        """Return the packed value of a row."""
        start, end = value_place(self._ends, place)
        return self._values[start:end]

    def values(self) -> list[bytes]:
        """Return the packed values of all rows."""
        values, start, found = self._values, 0, []
        for end in unpack_ends(self._ends):
            found.append(values[start:end])
            start = end
        return found

    def places_holding(self, parts: Sequence[bytes]) -> Iterator[int]:
        """Yield the places of the rows whose packed values hold all of some bytes; others may be.

        Args:
            parts: the first, which is looked for in all values at once, should be the longest.
        """
        if not parts:
            yield from range(self.row_count)
            return
        values, first = self._values, parts[0]
        at = values.find(first)
        if at < 0:
            return
        self.unpacked_keys()  # checks that the ends are those of the rows
        ends = unpack_ends(self._ends)
        while at >= 0 and (place := bisect_right(ends, at)) < len(ends):
            start, end = ends[place - 1] if place else 0, ends[place]
            if all(values.find(part, start, end) >= 0 for part in parts[1:]):
                yield place
            at = values.find(first, max(end, at + 1))

    def check(self) -> None:
        """Check that the parts belong together; O(rows).

        Raises:
            AssertionError: they do not.
            ValueError: a part can't be unpacked.
            CorruptionError: a part is damaged.
        """
        ends = [0, *unpack_ends(self._ends)]
        keys = self.unpacked_keys()
        if len(ends) != len(keys) + 1 or ends[-1] != len(self._values):
            raise AssertionError("a chunk does not have one value for each key")
        if any(low > high for low, high in pairwise(ends)):
            raise AssertionError("a value in a chunk ends before it starts")


class PackedRows:
    """All chunks of one table, in key order.

    Args:
        chunks: of the table.
        row_count: how many rows they hold.
        path: of the checkpoint.

    Raises:
        DecodeError: the chunks are not in key order.
    """

    __slots__ = (
        "_chunks",
        "_first_keys",
        "_found",
        "_found_before",
        "_starts",
        "_unpacked",
        "path",
        "row_count",
    )

    def __init__(self, chunks: list[PackedChunk], row_count: int, path: str) -> None:
        self._chunks = chunks
        self._first_keys = require_keys([chunk.first_key for chunk in chunks])
        self.row_count = row_count
        self.path = path
        # Keys of some chunks, by the number of the chunk.
        self._unpacked: dict[int, Sequence[Any]] = {}
        # The numbers of the first rows of the chunks; counted when first asked for.
        self._starts: list[int] | None = None
        # What was found of late, and before: once the first is full it becomes the second.
        self._found: dict[Any, bytes | Absent] = {}
        self._found_before: dict[Any, bytes | Absent] = {}

    @property
    def chunks(self) -> Sequence[PackedChunk]:
        """All chunks, in key order."""
        return self._chunks

    def get(self, key: Any) -> bytes | Absent:
        """Return the packed value of a key, or ABSENT: the same object for some time.

        O(log n), and O(chunk) on a chunk's first touch; O(1) where it was asked of late. Thread
        safe: at worst something is found twice.

        A key of another type than these is not among them, as in a dictionary.
        """
        value = self._found.get(key)
        if value is not None:
            return value
        value = self._found_before.get(key)
        if value is None:
            value = self._search(key)
        if len(self._found) >= _FOUND_MAX:
            self._found_before, self._found = self._found, {}
        self._found[key] = value
        return value

    def count_of(self, keys: Mapping[Any, Any]) -> int:
        """Return how many of some keys have a row here. O(keys), O(rows) at the most."""
        if len(keys) * _ROWS_PASSED_A_SEARCH < self.row_count:
            return sum(1 for key in keys if self.get(key) is not ABSENT)
        return sum(sum(map(keys.__contains__, chunk.unpacked_keys())) for chunk in self._chunks)

    def _search(self, key: Any) -> bytes | Absent:
        try:
            number = bisect_right(self._first_keys, key) - 1
            if number < 0:
                return ABSENT
            chunk = self._chunks[number]
            keys = self._unpacked.get(number)
            if keys is None and chunk.has_texts_of_one_length and type(key) is str:
                index = chunk.find(key)
                return chunk.value(index) if index >= 0 else ABSENT
            if keys is None:
                keys = chunk.unpacked_keys()
                if not chunk.has_texts_of_one_length:
                    self._keep(number, keys)
            index = bisect_left(keys, key)
        except (TypeError, UnicodeEncodeError):  # as a lone surrogate has it
            return ABSENT
        if index == len(keys) or keys[index] != key:
            return ABSENT
        return chunk.value(index)

    def _keys(self, number: int) -> Sequence[Any]:
        """Return the keys of a chunk."""
        keys = self._unpacked.get(number)
        if keys is None:
            keys = self._chunks[number].unpacked_keys()
            self._keep(number, keys)
        return keys

    def _keep(self, number: int, keys: Sequence[Any]) -> None:
        if len(self._unpacked) >= _UNPACKED_CHUNKS_MAX:
            self._unpacked = {}
        self._unpacked[number] = keys

    def items(self) -> Iterator[tuple[Any, bytes]]:
        """Yield all rows: key and packed value."""
        for chunk in self._chunks:
            yield from zip(chunk.unpacked_keys(), chunk.values(), strict=True)

    def rows_at(self, numbers: Iterable[int]) -> Iterator[tuple[Any, bytes]]:
        """Yield rows by their numbers in key order, from 0 on: key and packed value."""
        if self._starts is None:
            counts = [chunk.row_count for chunk in self._chunks]
            self._starts = list(accumulate(counts, initial=0))
        starts, chunk_number, end = self._starts, 0, 0
        for number in numbers:
            if not starts[chunk_number] <= number < end:
                chunk_number = bisect_right(starts, number) - 1
                end = starts[chunk_number + 1]
                chunk = self._chunks[chunk_number]
            yield chunk.row(number - starts[chunk_number])

    def numbers_holding(self, parts: Sequence[bytes]) -> Iterator[int]:
        """Yield the numbers of the rows whose packed values hold all of some bytes.

        O(bytes), some 0.1 µs a row, and as much again for each that is found. A few others may be
        among them.
        """
        start = 0
        for chunk in self._chunks:
            for place in chunk.places_holding(parts):
                yield start + place
            start += chunk.row_count

    def slice(
        self, start: Any, stop: Any, limit: int, *, inclusive: bool
    ) -> list[tuple[Any, bytes]]:
        """Return the first rows of a range.

        Args:
            start: the lowest key, None for no bound.
            stop: a key after the last, None for no bound.
            limit: how many rows at the most.
            inclusive: whether `start` itself belongs to the range.
        """
        rows: list[tuple[Any, bytes]] = []
        number = 0
        if start is not None:
            number = max(0, bisect_right(self._first_keys, start) - 1)
        find = bisect_left if inclusive else bisect_right
        for place in range(number, min(number + limit + 1, len(self._chunks))):
            chunk = self._chunks[place]
            if stop is not None and not chunk.first_key < stop:
                break
            keys = self._keys(place)
            low = 0 if start is None else find(keys, start)
            high = len(keys) if stop is None else bisect_left(keys, stop)
            high = min(high, low + limit - len(rows))
            if high - low < len(keys) // _FEW_ROWS:
                rows.extend((keys[index], chunk.value(index)) for index in range(low, high))
            else:
                found = zip(keys, chunk.values(), strict=True)
                rows.extend(islice(found, low, high))
            if len(rows) >= limit or high < len(keys):
                break
        return rows

    def last_slice(self, start: Any, stop: Any, limit: int) -> list[tuple[Any, bytes]]:
        """Return the last rows of a range, in key order; what `slice` returns of its beginning.

        Args:
            start: the lowest key, None for no bound.
            stop: a key after the last, None for no bound.
            limit: how many rows at the most.
        """
        rows: list[tuple[Any, bytes]] = []
        number = len(self._chunks) if stop is None else bisect_left(self._first_keys, stop)
        while number > 0 and len(rows) < limit:
            number -= 1
            keys = self._keys(number)
            high = len(keys) if stop is None else bisect_left(keys, stop)
            first = 0 if start is None else bisect_left(keys, start)
            low = max(first, high - (limit - len(rows)))
            values = self._chunks[number].values()
            rows[:0] = zip(keys[low:high], values[low:high], strict=True)
            if first > 0:
                break
        return rows

    def check(self) -> None:
        """Check every chunk, and that all keys ascend; O(n).

        Raises:
            AssertionError: it is not so.
        """
        for chunk in self._chunks:
            chunk.check()
        keys = [key for chunk in self._chunks for key in chunk.unpacked_keys()]
        if any(not low < high for low, high in pairwise(keys)):
            raise AssertionError("the packed rows are not in key order")
        if len(keys) != self.row_count:
            raise AssertionError(f"{len(keys)} packed rows where {self.row_count} are stated")
