"""A view: all tables as they were at one version, for a reader who waits for nobody.

To read a key it takes the table's value first and walks the chain of versions second: the first
undo map that holds the key has the value as it was, and if none does, the value just taken stands.
The writer does the two in the other order, so that a reader needs no lock. Once the chain is long,
a view folds what it has passed into maps of its own, so that its reads stay O(1).
"""

from __future__ import annotations

import os
import threading
from itertools import chain, islice
from typing import TYPE_CHECKING

from sortedcontainers import SortedDict

from eventstore.locks import refuse_reentry
from eventstore.tables.index import merged
from eventstore.tables.packed import ABSENT
from eventstore.tables.slices import FIRST_SLICE_ROWS, SLICE_ROWS_MAX, corrected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from eventstore.projection import Decode
    from eventstore.tables.table import Table
    from eventstore.tables.version import Version

_WALKED_VERSIONS_MAX = 16
"""As many as wait for a sync where 16 threads write."""
_CONFIRMED_AT_ONCE = 64
"""So many rows that an index gives are decoded before the first of them is yielded; at first few,
since whoever asks for one may take no more."""


class View:
    """A reader's place in the chain: all tables as they were at one version.

    Reading from several threads at once is safe. Reads are O(1), scans O(log n) to start.
    """

    __slots__ = ("_folding", "_is_folding", "_merged", "_version")

    def __init__(self, version: Version) -> None:
        self._version = version
        self._merged: dict[Table, SortedDict[Any, Any]] | None = None
        # Set while the order in the dictionaries may not fit them, also after an interrupt.
        self._is_folding = False
        # Held while the three above are changed, or read together: one for each process, since
        # nobody would release in the child of a fork what another thread held.
        self._folding: dict[int, threading.RLock] = {}

    def get(self, table: Table, key: Any, default: Any = None) -> Any:
        """Return the value of a key as it was at this version, or the default."""
        value = self._as_of(table, key, table.raw(key))
        if type(value) is bytes:
            return table.unpacked(key, value)
        return default if value is ABSENT else value

    def items(
        self,
        table: Table,
        start: Any = None,
        stop: Any = None,
        decode: Decode | None = None,
        *,
        reverse: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) as they were, in key order, from `start` on and before `stop`."""
        slices = (self._slices_from_end if reverse else self._slices)(table, start, stop)
        return chain.from_iterable(table.decoded_rows(rows, decode=decode) for rows in slices)

    def raw_items(
        self, table: Table, start: Any = None, stop: Any = None
    ) -> Iterator[tuple[Any, Any]]:
        """Return (key, value) as `items` does, but the values as they are kept, perhaps packed."""
        return chain.from_iterable(self._slices(table, start, stop))

    def by_index(self, table: Table, index: str, entry: Any) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that had an entry in an index, in key order.

        The index gives those that have it now, the undo maps those that were changed since this
        version. They are asked in this order, so that no change falls between them.

        Raises:
            ProjectionError: the table has no such index, or its key function fails.
        """
        found = table.found(index, entry)
        changed = self._changed_keys(table)
        if changed:
            found = merged([found, table.raw_rows(changed)])
        return chain.from_iterable(self._confirmed(table, index, entry, found))

    def _confirmed(
        self, table: Table, index: str, entry: Any, found: Iterator[tuple[Any, Any]]
    ) -> Iterator[Iterator[tuple[Any, Any]]]:
        limit = FIRST_SLICE_ROWS
        while rows := list(islice(found, limit)):
            yield table.confirmed(index, entry, self._rows_as_of(table, rows))
            limit = min(2 * limit, _CONFIRMED_AT_ONCE)

    def _rows_as_of(self, table: Table, rows: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Return rows, just taken, with what they held at this version; see `_as_of`."""
        version = self._version
        if self._merged is None and version.next is None and not version.undo.get(table):
            return rows
        return [(key, self._as_of(table, key, value)) for key, value in rows]

    def _changed_keys(self, table: Table) -> list[Any]:
        """Return the keys of a table that were changed since this version, in order."""
        changed: set[Any] = set()
        folding = self._own_lock()
        with folding:
            version = self._advance()
            if self._merged is not None:
                changed.update(self._merged.get(table, ()))
        undo = version.undo.get(table)
        if undo:
            # A copy made in one step, because the writer may be adding to the map.
            changed.update(undo.copy())
        return sorted(changed)

    def _slices(self, table: Table, start: Any, stop: Any) -> Iterator[Iterable[tuple[Any, Any]]]:
        limit, inclusive, more = FIRST_SLICE_ROWS, True, True
        while more:
            rows, last, more = table.slice(start, stop, limit, inclusive=inclusive)
            yield self._corrected(table, rows, start, last if more else stop, inclusive, more)
            start, inclusive, limit = last, False, min(4 * limit, SLICE_ROWS_MAX)

    def _slices_from_end(
        self, table: Table, start: Any, stop: Any
    ) -> Iterator[Iterable[tuple[Any, Any]]]:
        """Yield what `_slices` does, the last rows first."""
        limit, more = FIRST_SLICE_ROWS, True
        while more:
            rows, first, more = table.last_slice(start, stop, limit)
            low = first if more else start
            yield reversed(list(self._corrected(table, rows, low, stop, True, False)))
            stop, limit = first, min(4 * limit, SLICE_ROWS_MAX)

    def raw(self, table: Table, key: Any) -> Any:
        """Return what a key held at this version as it is kept, perhaps packed; ABSENT for no row.

        O(1).
        """
        return self._as_of(table, key, table.raw(key))

    def _as_of(self, table: Table, key: Any, value: Any) -> Any:
        """Return what a key held at this version, perhaps packed, by a value just taken.

        A short chain is walked, which changes nothing here: beside a writer that waits for its
        sync the first fold of a view took 20 µs. A longer one is folded.
        """
        version = self._version
        if self._merged is not None:  # asked second: so the version is not one that was folded to
            return self._older(table, key, value)
        for _ in range(_WALKED_VERSIONS_MAX):
            # The link first and the map second: maps may be merged meanwhile (`thinning`).
            following = version.next
            undo = version.undo.get(table)
            if undo is not None:
                old = undo.get(key, undo)
                if old is not undo:
                    return old
            if following is None:
                return value
            version = following
        return self._older(table, key, value)

    def _older(self, table: Table, key: Any, value: Any) -> Any:
        folding = self._own_lock()
        with folding:
            version = self._advance()
            merged = self._merged.get(table) if self._merged is not None else None
            if merged is not None and key in merged:
                return merged[key]
        undo = version.undo.get(table)
        return value if undo is None else undo.get(key, value)

    def _own_lock(self) -> threading.RLock:
        """Return the lock of this process, for use in a with statement."""
        process = os.getpid()
        lock = self._folding.get(process)
        if lock is None:
            # In one step: another thread may be here too.
            lock = self._folding.setdefault(process, threading.RLock())
        refuse_reentry(lock)
        return lock

    def _advance(self) -> Version:
        """Fold the undo maps of all versions but the newest into this view's own."""
        if self._version.next is not None:
            self._fold()
        return self._version

    def _fold(self) -> None:
        """Fold the undo maps of versions with a successor, where nothing is changed any more.

        Where a key is in several, the oldest holds; so folding one again changes nothing.
        """
        merged_tables = self._merged or {}
        if self._is_folding:
            # An interrupt may have left a dictionary without the order of its keys (`Table._mend`).
            merged_tables = {
                table: SortedDict(list(dict.items(merged)))  # type: ignore[arg-type]
                for table, merged in merged_tables.items()
            }
        self._merged = merged_tables
        self._is_folding = True
        version = self._version
        # The link first and copies of the maps second: they may be merged meanwhile (`thinning`).
        while (following := version.next) is not None:
            for table, undo in version.undo.copy().items():
                merged = merged_tables.setdefault(table, SortedDict())
                for key, old in undo.copy().items():
                    merged.setdefault(key, old)
            version = following
        self._version = version
        self._is_folding = False

    def _corrected(
        self,
        table: Table,
        rows: list[tuple[Any, Any]],
        start: Any,
        stop: Any,
        inclusive: bool,
        stop_inclusive: bool,
    ) -> Iterable[tuple[Any, Any]]:
        """Return a slice of rows as they were at this version."""
        folded: list[tuple[Any, Any]] = []
        folding = self._own_lock()
        with folding:
            version = self._advance()
            merged = self._merged.get(table) if self._merged is not None else None
            if merged:
                between = merged.irange(start, stop, (inclusive, stop_inclusive))
                folded = [(key, merged[key]) for key in between]
        older: dict[Any, Any] = {}
        undo = version.undo.get(table)
        if undo:
            # A copy made in one step, because the writer may be adding to the map.
            older = {
                key: old
                for key, old in undo.copy().items()
                if _within(key, start, stop, inclusive, stop_inclusive)
            }
        older.update(folded)
        return corrected(rows, older)


def _within(key: Any, start: Any, stop: Any, inclusive: bool, stop_inclusive: bool) -> bool:
    if start is not None and not (start < key or (inclusive and start == key)):
        return False
    return stop is None or key < stop or (stop_inclusive and key == stop)
