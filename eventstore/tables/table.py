"""A table: an ordered map, changed in place by one writer.

What it keeps is in `rows`, how values are kept and read in `values`; here is what the writer does.

    the writer                             a reader (`view`)
    1. the old value to the journal        1. takes the value
       and to the undo map                 2. takes the undo maps from its version on:
    2. the key to the touched ones of         the first that has the key is right,
       the order and of the indexes           else the value is
    3. the row

The writer's own scans, in `Projection.apply` and between the events of a transaction, are
corrected by the journal of the transaction, from the entry on at which they began. So what they
see depends neither on when a slice is taken nor on how the rows are split between checkpoint and
memory, and a replay sees the same.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from sortedcontainers import SortedDict

from eventstore.arguments import excerpt
from eventstore.errors import ProjectionError, TransactionClosedError
from eventstore.format.codec import INT_MAX, INT_MIN, key_shape
from eventstore.projection import TableSpec
from eventstore.tables.order import KeyOrder
from eventstore.tables.packed import ABSENT
from eventstore.tables.slices import FIRST_SLICE_ROWS, SLICE_ROWS_MAX, corrected
from eventstore.tables.values import Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.format.codec import KeyShape
    from eventstore.projection import Decode
    from eventstore.tables.journal import Change, Journal
    from eventstore.tables.packed import PackedRows


class Table(Values):
    """An ordered map, changed by one writer at a time and read as it is now.

    This is the face that the writer, `Projection.apply` and write transactions see. Readers of
    older versions go through a `View`.
    """

    __slots__ = ("_journal",)

    def __init__(
        self,
        spec: TableSpec,
        journal: Journal,
        packed: PackedRows | None,
        changed: Iterable[tuple[Any, Any]] = (),
    ) -> None:
        """Make a table of what a checkpoint holds.

        Args:
            spec: of the table.
            journal: of all changes to come.
            packed: the rows, or None.
            changed: what lies over them: keys, each with the packed value or `TOMBSTONE`. Of those
                with the same key the last counts.
        """
        super().__init__(spec, packed, changed)
        self._journal = journal

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key as it is now, or the default. O(1)."""
        value = self.raw(key)
        if value is ABSENT:
            return default
        return self.unpacked(key, value) if type(value) is bytes else value

    def __getitem__(self, key: Any) -> Any:
        value = self.get(key, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key: Any) -> bool:
        return self.raw(key) is not ABSENT

    def items(
        self, start: Any = None, stop: Any = None, decode: Decode | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) in key order, from `start` on and before `stop`.

        They are as of the call, whatever the same writer changes meanwhile. O(log n) to start,
        and O(changes since) for all slices together.

        Raises:
            TransactionClosedError: while iterating, the transaction of the call has ended.
        """
        changes = self._journal.changes
        return self._items_since(changes, len(changes), start, stop, decode)

    def put(self, key: Any, value: Any) -> None:
        """Set the value of a key, unless a checkpoint would not give both back. O(1).

        Raises:
            TypeError: it would not, or the key is of another shape than the others; nothing was
                changed.
            ValueError: the same, where the type fits but not the value.
        """
        kind = type(value)
        if not self._is_plain:
            value = self._packed_value(key, value)
        elif value is not None and not (
            (kind is str and value.isascii()) or (kind is int and INT_MIN <= value <= INT_MAX)
        ):
            value = self._plain_value(key, value)
        kind = type(key)
        # The common keys are seen through here, since a call takes a tenth of a `put`.
        if kind is not self._key_shape or not (
            (kind is str and key.isascii()) or (kind is int and INT_MIN <= key <= INT_MAX)
        ):
            self._require_key(key)
        self._journal.record(self, key, self.raw(key))
        self._write(key, value)

    def delete(self, key: Any) -> None:
        """Remove a key that is there; KeyError if it is not. O(1).

        Raises:
            TypeError: the key is equal to one that is there, as True is to 1, but not the same.
        """
        old = self.raw(key)
        if old is ABSENT:
            raise KeyError(key)
        if type(key) is not self._key_shape:
            self._require_key(key)
        self._journal.record(self, key, old)
        self._discard(key)

    def become(self, other: Table) -> None:
        """Change every row that another table of the same specification has otherwise. O(n)."""
        for key, old in chain.from_iterable(self.slices()):
            if other.raw(key) is ABSENT:
                self._journal.record(self, key, old)
                self._discard(key)
        for key, value in chain.from_iterable(other.slices()):
            old = self.raw(key)
            if old is ABSENT or self.packed(key, old) != other.packed(key, value):
                self._journal.record(self, key, old)
                self._write(key, value)

    def by_index(self, index: str, entry: Any) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index, in key order.

        They are as of the call, whatever the same writer changes meanwhile. O(rows found), and
        O(changed rows) before; the first time O(rows), see `index`.

        Raises:
            ProjectionError: the table has no such index, or its key function fails.
            TransactionClosedError: while iterating, the transaction of the call has ended.
        """
        changes = self._journal.changes
        return self._found_since(changes, len(changes), index, entry, self.found(index, entry))

    def found(self, index: str, entry: Any) -> Iterator[tuple[Any, Any]]:
        """Return rows as they are kept that may have an entry in an index, in key order.

        All that have it now are among them, and those that change from now on.

        Raises:
            ProjectionError: the table has no such index, or its key function fails.
        """
        if self._indexes is None:
            raise ProjectionError(f"table {self.name!r} has no index {excerpt(index)}")
        return self._indexes.found(self, index, entry)

    def confirmed(
        self, index: str, entry: Any, rows: list[tuple[Any, Any]]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield of rows as they are kept those that have an entry in an index, decoded."""
        if self._indexes is None:
            return iter(())
        there = [row for row in rows if row[1] is not ABSENT]
        return self._indexes.confirmed(index, entry, self.decoded_rows(there))

    def check(self) -> None:
        """Check every invariant of the table; O(n), for tests.

        Raises:
            AssertionError: one does not hold.
        """
        super().check()
        if self._indexes is not None:
            self._indexes.check(self)

    def check_index_functions(self) -> None:
        """Check that the key function of each index tells the entries of every row; O(n).

        Raises:
            ProjectionError: one does not.
        """
        if self._indexes is not None:
            self._indexes.check_functions(self)

    def _items_since(
        self, changes: list[Change], place: int, start: Any, stop: Any, decode: Decode | None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield rows as they were when the changes ended at a place."""
        limit, inclusive, more = FIRST_SLICE_ROWS, True, True
        first_olds: SortedDict[Any, Any] = SortedDict()
        while more:
            if self._journal.changes is not changes:
                raise self._ended()
            rows, last, more = self.slice(start, stop, limit, inclusive=inclusive)
            for table, key, old in changes[place:]:
                if table is self:
                    first_olds.setdefault(key, old)
            place = len(changes)
            between = first_olds.irange(start, last if more else stop, (inclusive, more))
            older = {key: first_olds[key] for key in between}
            yield from self.decoded_rows(corrected(rows, older), decode=decode)
            start, inclusive, limit = last, False, min(4 * limit, SLICE_ROWS_MAX)

    def _found_since(
        self,
        changes: list[Change],
        place: int,
        index: str,
        entry: Any,
        found: Iterator[tuple[Any, Any]],
    ) -> Iterator[tuple[Any, Any]]:
        """Yield of the rows found those that had the entry when the changes ended at a place."""
        first_olds: dict[Any, Any] = {}
        for key, value in found:
            if self._journal.changes is not changes:
                raise self._ended()
            for table, changed, old in changes[place:]:
                if table is self:
                    first_olds.setdefault(changed, old)
            place = len(changes)
            yield from self.confirmed(index, entry, [(key, first_olds.get(key, value))])

    def _require_key(self, key: Any) -> None:
        """Refuse a key that does not come back as it is, or is of another shape than the others.

        A table that has been emptied may only get keys of another shape after a reopen: readers
        may be at versions with the old ones. A replay, which may begin before that, goes along.
        """
        try:
            shape = key_shape(key)
            if self._key_shape is None:
                self._key_shape = self._known_shape()
            if self._key_shape is None:
                self._key_shape = shape
            elif shape != self._key_shape:
                if not self._journal.is_replaying or self._has_rows():
                    raise TypeError(
                        f"the other keys are of {_shape_text(self._key_shape)}, not of "
                        f"{_shape_text(shape)}: use one shape of keys for each table"
                    )
                self._rows, self._packed, self._key_shape = {}, None, shape
                self._order = KeyOrder()
                if self._indexes is not None:
                    self._indexes = self._indexes.emptied()
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(key, error) from error

    def _ended(self) -> TransactionClosedError:
        return TransactionClosedError(
            f"an iteration over table {self.name!r} goes on although its transaction has ended: "
            "begin another one"
        )


T = TypeVar("T")


class Tables(dict[str, T]):
    """Tables by their names, which may also be asked for by their specifications."""

    def __missing__(self, table: Any) -> T:
        if isinstance(table, TableSpec):
            return self[table.name]
        raise KeyError(table)


def _shape_text(shape: KeyShape) -> str:
    if not isinstance(shape, tuple):
        return shape.__name__
    names = ", ".join(kind.__name__ for kind in shape)
    return f"tuple[{names}]" if len(shape) > 1 else f"tuple[{names}, ...]"
