"""A table as a transaction sees it: what `transaction.table` returns, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.arguments import excerpt
from eventstore.errors import ProjectionError, TransactionClosedError
from eventstore.projection import TableSpec
from eventstore.tables.packed import ABSENT

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from eventstore.handle.read_transaction import ReadTransaction
    from eventstore.handle.write_transaction import WriteTransaction
    from eventstore.tables.table import Table, Tables


class TableAt:
    """A table as a transaction sees it, until that ends."""

    __slots__ = ("_name", "_transaction")

    def __init__(self, transaction: ReadTransaction | WriteTransaction, name: str) -> None:
        self._transaction = transaction
        self._name = name

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of a key, or the default."""
        return self._transaction.get(self._name, key, default)

    def __getitem__(self, key: Any) -> Any:
        value = self._transaction.get(self._name, key, ABSENT)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def __contains__(self, key: Any) -> bool:
        return self._transaction.get(self._name, key, ABSENT) is not ABSENT

    def items(self, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) in key order, from `start` on and before `stop`."""
        return self._transaction.items(self._name, start, stop)

    def by_index(self, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index, in key order."""
        return self._transaction.by_index(self._name, index, entry)


def known_table(tables: Tables[Table], name: Any) -> Table:
    """Return a table by its name or its specification.

    Raises:
        ProjectionError: there is none.
    """
    try:
        return tables[name]
    except (KeyError, TypeError):
        raise unknown_table(tables, name) from None


def unknown_table(tables: Tables[Table], name: object) -> ProjectionError:
    """Return what to tell whoever asks for a table that is not there."""
    if isinstance(name, TableSpec):
        name = name.name
    known = ", ".join(sorted(tables)) or "none"
    return ProjectionError(f"no table {excerpt(name)} in this store: it has {known}")


def ended_error() -> TransactionClosedError:
    """Return what to tell whoever uses a transaction that has ended."""
    return TransactionClosedError(
        "the transaction has been committed or rolled back: begin another one"
    )
