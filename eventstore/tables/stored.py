"""The rows of a table as a chain of checkpoint files holds them: those of a base, under changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.tables.packed import ABSENT, TOMBSTONE, Absent, PackedRows, Tombstone

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class StoredRows:
    """The rows of one table, packed.

    Attributes:
        packed: of the base.
        changes: what deltas have laid over them: keys, each with a packed value or `TOMBSTONE`.
    """

    __slots__ = ("changes", "packed")

    def __init__(self, packed: PackedRows, deltas: Iterable[PackedRows] = ()) -> None:
        self.packed = packed
        self.changes: dict[Any, bytes | Tombstone] = {}
        for delta in deltas:
            self.changes.update(changes_of(delta))

    @property
    def path(self) -> str:
        """Of the base, for errors."""
        return self.packed.path

    def get(self, key: Any) -> bytes | Absent:
        """Return the packed value of a key, or ABSENT."""
        value = self.changes.get(key)
        if value is None:
            return self.packed.get(key)
        return ABSENT if isinstance(value, Tombstone) else value

    def items(self) -> Iterator[tuple[Any, bytes]]:
        """Yield all rows in key order: key and packed value. O(n log n) where there are changes."""
        if not self.changes:
            yield from self.packed.items()
            return
        rows: dict[Any, bytes | Tombstone] = dict(self.packed.items())
        rows.update(self.changes)
        for key in sorted(rows):
            value = rows[key]
            if not isinstance(value, Tombstone):
                yield key, value


def changes_of(delta: PackedRows) -> Iterator[tuple[Any, bytes | Tombstone]]:
    """Yield what a delta says of its keys: a packed value, or that the row is gone.

    No packed value has no bytes, so that is how a row that is gone is written.
    """
    for key, value in delta.items():
        yield key, value or TOMBSTONE
