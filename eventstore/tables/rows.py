"""The rows of a table as they are kept: changed ones over the packed ones of a checkpoint.

A dictionary of changed rows, whose order is kept apart (`order`), stands over the packed rows of
the checkpoint that the table was loaded from. Invariants: a key is at most once in each; a
TOMBSTONE stands only over a packed row; a value of type `bytes` is a packed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.format.codec import key_of_shape, key_shape
from eventstore.tables.index import Indexes
from eventstore.tables.order import KeyOrder
from eventstore.tables.packed import ABSENT, TOMBSTONE
from eventstore.tables.slices import SLICE_ROWS_MAX, merged, merged_from_end
from eventstore.tables.texts import rows_holding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from eventstore.format.codec import KeyShape
    from eventstore.projection import TableSpec
    from eventstore.tables.packed import PackedRows


class Rows:
    """The rows of one table, changed by one thread and read by any, as they are now.

    Attributes:
        name: of the table.
    """

    __slots__ = (
        "__weakref__",
        "_has_stored_changes",
        "_indexes",
        "_key_shape",
        "_order",
        "_packed",
        "_rows",
        "name",
    )

    def __init__(
        self, spec: TableSpec, packed: PackedRows | None, changed: Iterable[tuple[Any, Any]] = ()
    ) -> None:
        """Begin with what a checkpoint holds; see `Table`."""
        self.name = spec.name
        self._packed = packed
        self._rows: dict[Any, Any] = dict(changed)
        # Whether some of those are of a checkpoint.
        self._has_stored_changes = bool(self._rows)
        self._order = KeyOrder()
        self._indexes = Indexes(spec.name, spec.indexes, spec.texts) if spec.indexes else None
        # Of all keys; None until the first one is seen.
        self._key_shape: KeyShape | None = None
        if self._rows:
            self._drop_needless_tombstones()
            self._order.forget(next(iter(self._rows), None))

    def raw(self, key: Any) -> Any:
        """Return the value of a key as it is kept, perhaps packed; ABSENT if there is none."""
        value = self._rows.get(key, ABSENT)
        if value is ABSENT and self._packed is not None:
            return self._packed.get(key)
        return ABSENT if value is TOMBSTONE else value

    def raw_rows(self, keys: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield keys, each with its value as it is kept now; ABSENT if there is none."""
        for key in keys:
            yield key, self.raw(key)

    def slice(
        self, start: Any, stop: Any, limit: int, *, inclusive: bool
    ) -> tuple[list[tuple[Any, Any]], Any, bool]:
        """Return the first rows of a range as they are kept, perhaps packed.

        Returns:
            the rows; the last key looked at; whether there may be more after it.
        """
        rows, packed, bounds = self._rows, [], (inclusive, False)
        if self._packed is not None:
            packed = self._packed.slice(start, stop, limit, inclusive=inclusive)
            if len(packed) == limit:
                # The slice ends there: what was changed behind it would be listed again.
                stop, bounds = packed[-1][0], (inclusive, True)
        keys = self._order.listed(rows, start, stop, limit, bounds)
        # The writer may have taken some away since; whoever corrects the slice knows of that.
        changed = [(key, rows.get(key, ABSENT)) for key in keys]
        return merged(changed, packed, start, limit)

    def last_slice(
        self, start: Any, stop: Any, limit: int
    ) -> tuple[list[tuple[Any, Any]], Any, bool]:
        """Return the last rows before a key as they are kept, in key order.

        Returns:
            the rows; the lowest key looked at; whether there may be more before it.
        """
        rows, packed = self._rows, []
        if self._packed is not None:
            packed = self._packed.last_slice(start, stop, limit)
            if len(packed) == limit:
                start = packed[0][0]
        keys = self._order.listed(rows, start, stop, limit, (True, False), from_end=True)
        changed = [(key, rows.get(key, ABSENT)) for key in keys]
        return merged_from_end(changed, packed, stop, limit)

    def slices(self) -> Iterator[list[tuple[Any, Any]]]:
        """Yield all rows as they are now, in key order."""
        start, inclusive, more = None, True, True
        while more:
            rows, start, more = self.slice(start, None, SLICE_ROWS_MAX, inclusive=inclusive)
            inclusive = False
            yield rows

    def packed_rows(self) -> Iterator[tuple[Any, Any]]:
        """Yield all rows of the checkpoint, in key order, also where they were changed since."""
        return self._packed.items() if self._packed is not None else iter(())

    def rows_at(self, numbers: Iterable[int]) -> Iterator[tuple[Any, Any]]:
        """Yield the rows as they are now whose keys have these numbers among the packed ones."""
        if self._packed is not None:
            rows = self._rows
            for key, packed in self._packed.rows_at(numbers):
                value = rows.get(key, packed)
                yield key, ABSENT if value is TOMBSTONE else value

    def holding(self, parts: Sequence[bytes]) -> tuple[list[Any], list[int]]:
        """Return the changed keys, and the numbers of packed rows, whose values hold all parts."""
        return rows_holding(self._rows, self._packed, parts)

    def changed_keys(self) -> list[Any]:
        """Return the keys that have a changed row, in any order."""
        # The items in one step: the writer may be at work.
        return [key for key, value in list(self._rows.items()) if value is not TOMBSTONE]

    def take_rows(self, other: Self) -> None:
        """Take over the rows of another table of the same specification; before any reader."""
        self._packed, self._rows = other._packed, other._rows
        self._key_shape, self._order = other._key_shape, other._order
        self._has_stored_changes = other._has_stored_changes
        self._indexes = other._indexes

    def row_count_about(self) -> int:
        """Return how many rows there are, or down to half as many. O(1)."""
        packed_count = self._packed.row_count if self._packed is not None else 0
        return max(len(self._rows), packed_count)

    def row_count(self) -> int:
        """Return the number of rows as they are now. O(changed rows), O(rows) at the most."""
        packed = self._packed
        if packed is None:
            return len(self._rows)
        rows = self._rows.copy()
        added = len(rows) - packed.count_of(rows)
        deleted = sum(1 for value in rows.values() if value is TOMBSTONE)
        return packed.row_count + added - deleted

    def renew_lock(self) -> None:
        """Replace the lock, in the child of a fork: no thread is there to release the old one."""
        self._order.renew_lock()
        if self._indexes is not None:
            self._indexes.renew_lock()

    def restore(self, key: Any, old: Any) -> None:
        """Put back what a key held before a change; for rollback only."""
        if old is ABSENT:
            self._discard(key)
        else:
            self._write(key, old)

    def check(self) -> None:
        """Check every invariant of the rows; O(n), for tests and `verify`.

        Raises:
            AssertionError: one does not hold.
        """
        self._order.check(self._rows)
        if self._packed is not None:
            self._packed.check()
        for key, value in self._rows.items():
            over_packed = self._packed is not None and self._packed.get(key) is not ABSENT
            if value is TOMBSTONE and not over_packed:
                raise AssertionError(f"table {self.name!r}: a tombstone over nothing at {key!r}")

    def _write(self, key: Any, value: Any) -> None:
        rows = self._rows
        if key not in rows:
            self._order.touch(key, len(rows))
        if self._indexes is not None:
            self._indexes.touch(key, len(rows))
        rows[key] = value

    def _discard(self, key: Any) -> None:
        if self._packed is not None and self._packed.get(key) is not ABSENT:
            self._write(key, TOMBSTONE)
        else:
            self._order.touch(key, len(self._rows))
            if self._indexes is not None:
                self._indexes.touch(key, len(self._rows))
            # It may not be there: an interrupt may have come between undo map and table.
            self._rows.pop(key, None)

    def _drop_needless_tombstones(self) -> None:
        packed, rows = self._packed, self._rows
        deleted = [key for key, value in rows.items() if value is TOMBSTONE]
        for key in deleted:
            if packed is None or packed.get(key) is ABSENT:
                del rows[key]

    def _own_key(self, key: Any) -> Any:
        """Return the key of a row for one that equals it: `decode` is given what was put."""
        shape = self._key_shape
        if type(key) is shape:
            return key
        if shape is None:
            shape = self._key_shape = self._known_shape()
        # None where the table was emptied since: no key is left to tell.
        return key if shape is None else key_of_shape(key, shape)

    def _known_shape(self) -> KeyShape | None:
        """Return the shape of the keys that the table was loaded with."""
        if self._packed is not None:
            for key, _ in self._packed.slice(None, None, 1, inclusive=True):
                return key_shape(key)
        return key_shape(next(iter(self._rows))) if self._rows else None

    def _has_rows(self) -> bool:
        rows = self._rows
        if any(value is not TOMBSTONE for value in rows.values()):
            return True
        # Each tombstone stands over one packed row.
        return self._packed is not None and len(rows) < self._packed.row_count
