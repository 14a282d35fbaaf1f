"""Read transactions.

A read transaction sees the state that was durable when it began, until it ends, whatever is
committed meanwhile. A look-up waits for nobody, but for the change of a single row where it
keeps a value decoded; a scan holds the lock of its table for some microseconds a slice. It may be
used from several threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, overload

from eventstore.errors import ReadOnlyStoreError
from eventstore.handle.table_at import TableAt, ended_error, known_table, unknown_table
from eventstore.tables.packed import ABSENT
from eventstore.tables.version import Version
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from types import TracebackType
    from typing import Self

    from eventstore.handle.receipt import Receipt
    from eventstore.projection import Decode, K, ReadableTable, TableSpec, V
    from eventstore.tables.table import Table, Tables


class ReadTransaction:
    """A state that does not change while it is looked at.

    A subclass may add the reads of a domain; `EventStore.begin_read` makes it.
    """

    __slots__ = ("_place", "_revision", "_tables")

    def __init__(self, tables: Tables[Table], version: Version) -> None:
        self._tables = tables
        # A view is made when something has changed since; None after the end.
        self._place: Version | View | None = version
        self._revision = version.revision

    @property
    def revision(self) -> int:
        """The revision whose state this transaction sees."""
        return self._revision

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """Return the value of a key in a table, or the default. O(1).

        Raises:
            ProjectionError: no projection of the store has such a table.
            TransactionClosedError: the transaction has ended.
        """
        place = self._place
        if place is None:
            raise ended_error()
        try:
            found = self._tables[table]
        except (KeyError, TypeError):
            raise unknown_table(self._tables, table) from None
        if type(place) is Version:
            # As a view would read it, which takes a sixth of a short transaction to make.
            value = found.raw(key)
            if place.next is None and not place.undo:
                if type(value) is bytes:
                    return found.unpacked(key, value)
                return default if value is ABSENT else value
        return self._view().get(found, key, default)

    def items(
        self,
        table: str,
        start: Any = None,
        stop: Any = None,
        *,
        decode: Decode | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of a table in key order, from `start` on and before `stop`.

        Args:
            table: its name.
            start: the lowest key; None for no bound.
            stop: a key after the last; None for no bound.
            decode: in the place of that of `TableSpec`, for who needs less of a value: from the key
                and what `encode` made of the value to what is yielded.
            reverse: the last ones first; O(log n) to start, as the other way round.

        Raises:
            ProjectionError: no projection of the store has such a table.
            TransactionClosedError: the transaction has ended.
        """
        found = known_table(self._tables, table)
        return self._view().items(found, start, stop, decode, reverse=reverse)

    def by_index(self, table: str, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index of a table, in key order.

        O(rows found), and O(rows changed since the index was last asked, or since this transaction
        began) before. The first time after an open, O(rows of the table), about 3 µs each; with
        `TableSpec.texts` the first few times some 0.3 µs each, and 3 for each row found.

        Args:
            table: its name.
            index: one that the table's `TableSpec` declares.
            entry: as the key function of the index gives it.

        Raises:
            ProjectionError: there is no such table or index, or the key function fails.
            TypeError: nothing can be such an entry, since it has no hash.
            TransactionClosedError: the transaction has ended.
        """
        return self._view().by_index(known_table(self._tables, table), index, entry)

    @overload
    def table(self, table: str) -> ReadableTable: ...
    @overload
    def table(self, table: TableSpec[K, V]) -> ReadableTable[K, V]: ...
    def table(self, table: Any) -> Any:
        """Return a table by its name, or, typed, by its specification.

        Raises:
            ProjectionError: no projection of the store has such a table.
        """
        return TableAt(self, known_table(self._tables, table).name)

    def rollback(self) -> None:
        """End the transaction; does nothing the second time."""
        self._place = None

    def commit(self) -> Receipt:
        """Refuse: there is nothing to commit.

        Raises:
            ReadOnlyStoreError: always.
        """
        raise ReadOnlyStoreError("a read transaction can't be committed: roll it back, or leave it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._place = None

    def _view(self) -> View:
        """Return the view to read by; where two threads make one at once, either will do."""
        place = self._place
        if place is None:
            raise ended_error()
        if type(place) is Version:
            place = self._place = View(place)
        return cast("View", place)
