"""Secondary indexes: which rows have an entry, kept off the write path and out of every file.

A `TableSpec` gives a key function for each: from key and value to the entries of a row. The writer
only lists each key whose row it is about to change as *touched*. Whoever asks an index holds the
lock, and takes the touched keys into it. So it is right for every version: a row is what it was
when the index looked at it, or the undo maps have its key, and a reader looks at those after the
index. What an index gives is *candidates*, which the reader confirms by the row as he sees it; an
entry too many costs time and nothing else. So hashes can stand for entries.

The candidates come from three places:

- *packed*: the rows of a checkpoint, by their numbers. They never change; for a key with a changed
  row over it, that row is what is looked at.
- *sorted*: the changed rows that there were when they were last sorted, by their places in that
  list. A key that was changed since is left out.
- *recent*: keys changed since, in a dictionary by the hash. Once they are more than an eighth, the
  changed rows are sorted anew, and entries move on to the new places without a look at the rows.

To the first questions they may come from the bytes of the rows, before there is an index: `texts`.

In the first two an entry is 8 bytes: 32 bits of the hash of what the key function gave, then the
number of the row. So the entries of one hash stand together, in key order, and are found by
bisection. Arrays and lists are never changed, only replaced; so what was begun under the lock may
go on without it.
"""

from __future__ import annotations

import heapq
import threading
from array import array
from bisect import bisect_left
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from eventstore.arguments import excerpt
from eventstore.errors import ProjectionError
from eventstore.locks import refuse_reentry
from eventstore.tables.packed import ABSENT
from eventstore.tables.texts import cost, parts_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from eventstore.projection import KeyFunction, TextsFunction

    Row = tuple[Any, Any]

_TOUCHED_MIN = 1024
_RECENT_SHARE = 8
"""The share of the sorted rows above which there are too many recent ones, as a divisor."""
_SLICE_ROWS = 64
_NUMBER_BITS = 32
_NUMBER_MASK = (1 << _NUMBER_BITS) - 1
_HASH_MASK = 0xFFFF_FFFF
_HASHES = _HASH_MASK << _NUMBER_BITS
_GONE = _NUMBER_MASK
_KEY = itemgetter(0)
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
"""What a function of a table may raise that does not fit the rows.

Nothing else is taken for that: it may be what a signal handler raised, or that there is no memory.
A `StopIteration` would end whatever iteration it comes into.
"""


class Source(Protocol):
    """The rows, as their table gives them: values as they are kept, perhaps packed."""

    def row_count_about(self) -> int:
        """Return how many rows there are, or down to half as many."""

    def holding(self, parts: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Return the changed keys, and the numbers of packed rows, whose values hold all parts."""

    def packed_rows(self) -> Iterator[Row]:
        """Yield all rows of the checkpoint, in key order, also where they were changed since."""

    def rows_at(self, numbers: Iterable[int]) -> Iterator[Row]:
        """Yield the rows as they are now whose keys have these numbers among the packed ones."""

    def changed_keys(self) -> list[Any]:
        """Return the keys that have a changed row, in any order."""

    def raw_rows(self, keys: Iterable[Any]) -> Iterator[Row]:
        """Yield keys, each with its value as it is now, or ABSENT."""

    def slices(self) -> Iterator[list[Row]]:
        """Yield all rows as they are now."""

    def decoded_rows(self, rows: Iterable[Row]) -> Iterable[Row]:
        """Return rows whose values may be packed, decoded."""


class _Index:
    """What was found out about one index: entries by hash and number, and recent ones by hash."""

    __slots__ = ("packed", "recent", "sorted")

    def __init__(self, packed: array[int]) -> None:
        self.packed = packed
        self.sorted = array("Q")
        self.recent: dict[int, dict[Any, None]] = {}


class Indexes:
    """All indexes of one table. Until one is asked, only the touched keys take room."""

    __slots__ = (
        "_drops",
        "_drops_seen",
        "_functions",
        "_indexes",
        "_is_whole",
        "_lock",
        "_packed_entries",
        "_recent",
        "_sorted",
        "_table",
        "_taken",
        "_texts",
        "_touched",
        "_unmade_cost",
    )

    def __init__(
        self,
        table: str,
        functions: Mapping[str, KeyFunction],
        texts: Mapping[str, TextsFunction] | None = None,
    ) -> None:
        self._table = table
        self._functions = functions
        self._texts = texts or {}
        # What questions have cost that were answered without an index.
        self._unmade_cost: dict[str, int] = {}
        # What may have changed since; the writer's.
        self._touched: list[Any] = []
        # How often the writer has begun another list of touched keys, and how often that was seen.
        self._drops, self._drops_seen = 1, 0
        # Unset while the rest is changed: an interrupt may have left it half done.
        self._is_whole = True
        self._packed_entries: dict[str, array[int]] = {}
        self._indexes: dict[str, _Index] = {}
        self._sorted: list[Any] = []
        # Keys changed since the others were sorted, each with how many there were before it.
        self._recent: dict[Any, int] = {}
        # How many touched keys were taken since then.
        self._taken = 0
        self._lock = threading.RLock()

    def touch(self, key: Any, row_count: int) -> None:
        """Remember that the row of a key is about to change; for the writer.

        Args:
            key: of the row.
            row_count: how many changed rows there are, about: with half as many touched keys, all
                are looked at anew when an index is next asked.
        """
        touched = self._touched
        touched.append(key)
        if len(touched) > _TOUCHED_MIN and 2 * len(touched) > row_count:
            # In this order: whoever finds the new list knows that it is not all.
            self._drops += 1
            self._touched = [key]

    def emptied(self) -> Indexes:
        """Return the indexes of the same table without any row."""
        return Indexes(self._table, self._functions, self._texts)

    def entries(self, index: str, key: Any, value: Any) -> frozenset[Any]:
        """Return the entries of a row.

        Raises:
            ProjectionError: the key function does not give any.
        """
        try:
            found = self._functions[index](key, value)
            if isinstance(found, (str, bytes)):
                raise _one_entry(found)
            return frozenset(found)
        except RecursionError:  # of whoever called from too deep
            raise
        except FAILURES as error:
            raise self._failure(index, key, error) from error

    def confirmed(self, index: str, entry: Any, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield of decoded rows those that have an entry.

        Raises:
            ProjectionError: the key function fails, or what it gives can't be compared.
        """
        function = self._functions[index]
        for row in rows:
            try:
                found = function(*row)
                if isinstance(found, (str, bytes)):
                    raise _one_entry(found)
                has_entry = entry in frozenset(found)
            except RecursionError:  # of whoever called from too deep
                raise
            except FAILURES as error:
                raise self._failure(index, row[0], error) from error
            if has_entry:
                yield row

    def found(self, source: Source, index: str, entry: Any) -> Iterator[Row]:
        """Return rows as they are kept that may have an entry, in key order.

        Raises:
            ProjectionError: there is no such index, or its key function fails.
            TypeError: nothing can be such an entry, since it has no hash.
            ReentrantUseError: this was called by what has interrupted such a call.
        """
        if index not in self._functions:
            names = ", ".join(map(repr, self._functions))
            raise ProjectionError(
                f"table {self._table!r} has no index {excerpt(index)}: it has {names}"
            )
        hashed = hash(entry) & _HASH_MASK
        unmade = self._found_by_texts(source, index, entry)
        if unmade is not None:
            return unmade
        refuse_reentry(self._lock)
        with self._lock:
            self._take_touched(source)
            one = self._indexes.get(index)
            if one is None:
                one = self._indexes[index] = self._built(source, index)
            keys, recent = self._sorted, self._recent
            places, numbers = _numbers(one.sorted, hashed), _numbers(one.packed, hashed)
            changed = sorted(one.recent.get(hashed, ()))
            recent_count = len(recent)
        found: list[Iterator[Row]] = []
        if places:
            unchanged = (
                keys[place & _NUMBER_MASK]
                for place in places
                if recent.get(keys[place & _NUMBER_MASK], recent_count) >= recent_count
            )
            found.append(source.raw_rows(unchanged))
        if changed:
            found.append(source.raw_rows(changed))
        if numbers:
            found.append(source.rows_at(number & _NUMBER_MASK for number in numbers))
        return merged(found)

    def _found_by_texts(self, source: Source, index: str, entry: Any) -> Iterator[Row] | None:
        """Return what `found` does; None where that is up to the index: see `texts`.

        All rows are looked at before this returns, so that what changes from now on is known to
        whoever looks at the undo maps after that.
        """
        spent = self._unmade_cost.get(index, 0)
        if index in self._packed_entries or spent >= source.row_count_about():
            return None
        parts = self._parts(index, entry)
        if parts is None:
            return None
        changed, numbers = found = source.holding(parts)
        self._unmade_cost[index] = spent + cost(source, found)
        return merged([source.raw_rows(sorted(changed)), source.rows_at(numbers)])

    def _parts(self, index: str, entry: Any) -> list[bytes] | None:
        """Return the bytes that a row with an entry holds, as far as that is told."""
        try:
            return parts_of(self._texts[index](entry))
        except FAILURES:  # as where no row can have such an entry
            return None

    def renew_lock(self) -> None:
        """Replace the lock, in the child of a fork: no thread is there to release the old one."""
        self._lock = threading.RLock()

    def check(self, source: Source) -> None:
        """Check that each index gives all rows that have an entry; O(n), for tests.

        Raises:
            AssertionError: it does not.
            ProjectionError: a key function fails.
        """
        for index in self._functions:
            expected: dict[Any, set[Any]] = {}
            for rows in source.slices():
                for kept, (key, value) in zip(rows, source.decoded_rows(rows), strict=True):
                    for entry in self.entries(index, key, value):
                        expected.setdefault(entry, set()).add(key)
                        self._check_texts(index, entry, kept)
            for entry, keys in expected.items():
                found = [key for key, _ in self.found(source, index, entry)]
                if any(not low < high for low, high in pairwise(found)):
                    raise AssertionError(
                        f"index {index!r} of table {self._table!r} is not in key order"
                    )
                if not keys.issubset(found):
                    raise AssertionError(
                        f"index {index!r} of table {self._table!r} does not agree with the rows"
                    )

    def _check_texts(self, index: str, entry: Any, kept: Row) -> None:
        key, value = kept
        parts = self._parts(index, entry) or ()
        if type(value) is bytes and not all(part in value for part in parts):
            raise AssertionError(
                f"index {index!r} of table {self._table!r}: key {excerpt(key)} has entry "
                f"{excerpt(entry)}, but not the texts of it"
            )

    def check_functions(self, source: Source) -> None:
        """Check that each key function tells the entries of every row; O(n), for `verify`.

        What an index finds by them is known to this process alone, and no file holds it.

        Raises:
            ProjectionError: one does not.
        """
        for rows in source.slices():
            decoded = list(source.decoded_rows(rows))
            for index in self._functions:
                for key, value in decoded:
                    self.entries(index, key, value)

    def _take_touched(self, source: Source) -> None:
        # The touched keys before the count of drops; see `touch`.
        touched, drops = self._touched, self._drops
        count = len(touched)
        anew = not self._is_whole or drops != self._drops_seen
        self._is_whole = False
        if anew:
            self._sorted = sorted(source.changed_keys())
            self._recent, self._indexes, self._taken = {}, {}, 0
        else:
            keys = list(dict.fromkeys(touched[:count]))
            self._take(source, keys)
            if count > 1:  # else it is, most often, the one that was left by the last question
                self._taken += len(keys)
            if self._taken * _RECENT_SHARE > len(self._sorted) + _TOUCHED_MIN * _RECENT_SHARE:
                self._sort(source)
        # The row of the newest one may still be on its way.
        del touched[: count - 1]
        self._drops_seen = drops
        self._is_whole = True

    def _take(self, source: Source, keys: list[Any]) -> None:
        """Keep keys as recent, with the entries of their rows in the indexes that were asked."""
        recent = self._recent
        for key in keys:
            recent.setdefault(key, len(recent))
        for index, one in self._indexes.items():
            self._add_recent(source, index, one, keys)

    def _sort(self, source: Source) -> None:
        """Sort all changed keys anew, and move the entries to the new places."""
        recent, old_keys = self._recent, self._sorted
        added = [key for key, value in source.raw_rows(list(recent)) if value is not ABSENT]
        keys = sorted([*(key for key in old_keys if key not in recent), *added])
        moved = (place for place, key in enumerate(keys) if key not in recent)
        places = array("I", (_GONE if key in recent else next(moved) for key in old_keys))
        place_of = {key: place for place, key in enumerate(keys) if key in recent}
        for one in self._indexes.values():
            entries = [
                (entry & _HASHES) | places[entry & _NUMBER_MASK]
                for entry in one.sorted
                if places[entry & _NUMBER_MASK] != _GONE
            ]
            for hashed, own in one.recent.items():
                entries.extend(
                    hashed << _NUMBER_BITS | place_of[key] for key in own if key in place_of
                )
            one.sorted = array("Q", sorted(entries))
            one.recent = {}
        self._sorted, self._recent, self._taken = keys, {}, 0

    def _built(self, source: Source, index: str) -> _Index:
        """Find out the entries of all rows."""
        packed = self._packed_entries.get(index)
        if packed is None:
            packed = self._numbered(source, index, source.packed_rows())
            self._packed_entries[index] = packed
        one, recent = _Index(packed), self._recent
        one.sorted = self._numbered(
            source,
            index,
            (
                (key, ABSENT if key in recent else value)
                for key, value in source.raw_rows(self._sorted)
            ),
        )
        self._add_recent(source, index, one, list(recent))
        return one

    def _add_recent(self, source: Source, index: str, one: _Index, keys: list[Any]) -> None:
        hashes = self._hashes(source, index, source.raw_rows(keys))
        for key, own in zip(keys, hashes, strict=True):
            for hashed in own:
                one.recent.setdefault(hashed, {})[key] = None

    def _numbered(self, source: Source, index: str, rows: Iterable[Row]) -> array[int]:
        """Return the entries of rows, which are numbered as they come."""
        entries: list[int] = []
        add = entries.append
        for number, hashes in enumerate(self._hashes(source, index, rows)):
            for hashed in hashes:  # a comprehension in each row would take a tenth of all this
                add(hashed << _NUMBER_BITS | number)
        entries.sort()
        return array("Q", entries)

    def _hashes(self, source: Source, index: str, rows: Iterable[Row]) -> Iterator[Collection[int]]:
        """Yield for each row the hashes of its entries, each once.

        As `entries` finds them, but each is hashed once, since this is done for every row.
        """
        function = self._functions[index]
        rest = iter(rows)
        while part := list(islice(rest, _SLICE_ROWS)):
            there = [row for row in part if row[1] is not ABSENT]
            decoded = iter(source.decoded_rows(there))
            for _, kept in part:
                if kept is ABSENT:
                    yield ()
                    continue
                key, value = next(decoded)
                try:
                    found = function(key, value)
                    if isinstance(found, (str, bytes)):
                        raise _one_entry(found)
                    hashes = {hash(entry) & _HASH_MASK for entry in found}
                except RecursionError:  # of whoever called from too deep
                    raise
                except FAILURES as error:
                    raise self._failure(index, key, error) from error
                yield hashes

    def _failure(self, index: str, key: Any, error: Exception) -> ProjectionError:
        return ProjectionError(
            f"index {index!r} of table {self._table!r} can't tell the entries of key "
            f"{excerpt(key)}: {type(error).__name__}: {error}"
        )


def _one_entry(found: str | bytes) -> TypeError:
    return TypeError(f"{excerpt(found)} is one entry: return it in a tuple")


def merged(found: list[Iterator[Row]]) -> Iterator[Row]:
    """Merge rows from several places, all in key order, into one row for each key."""
    if len(found) <= 1:
        return found[0] if found else iter(())
    rows = heapq.merge(*found, key=_KEY)
    return (next(same) for _, same in groupby(rows, _KEY))


def _numbers(entries: array[int], hashed: int) -> memoryview:
    """Return the entries of a hash."""
    low = bisect_left(entries, hashed << _NUMBER_BITS)
    high = bisect_left(entries, (hashed + 1) << _NUMBER_BITS, low)
    return memoryview(entries)[low:high]
