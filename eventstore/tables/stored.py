"""The rows of a table as a chain of checkpoint files holds them: those of a base, under changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.errors import CorruptionError
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
        """Lay deltas over a base.

        Raises:
            CorruptionError: a key is of another type than the others.
        """
        self.packed = packed
        self.changes: dict[Any, bytes | Tombstone] = {}
        for delta in deltas:
            self.changes.update(changes_of(delta))
            self._require_one_type(delta.path)
            if self._is_emptied():
                # Keys of another type may follow, and rows that are gone must not forbid them.
                self.packed, self.changes = PackedRows([], 0, packed.path), {}

    def _require_one_type(self, path: str) -> None:
        keys = [chunk.first_key for chunk in self.packed.chunks[:1]]
        keys += self.changes
        kinds = set(map(type, keys))
        is_one = len(kinds) <= 1
        if kinds == {tuple}:
            try:
                keys.sort()
            except TypeError:
                is_one = False
        if not is_one:
            raise CorruptionError(path, 0, "the keys of a table are of several types")

    def _is_emptied(self) -> bool:
        gone = [key for key, value in self.changes.items() if isinstance(value, Tombstone)]
        if len(gone) != len(self.changes) or len(gone) < self.packed.row_count:
            return False
        return sum(self.packed.get(key) is not ABSENT for key in gone) == self.packed.row_count

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
        rows = self.as_dict()
        for key in sorted(rows):
            yield key, rows[key]

    def as_dict(self) -> dict[Any, bytes]:
        """Return all rows in no order: key to packed value. O(n)."""
        rows: dict[Any, Any] = dict(self.packed.items())
        for key, value in self.changes.items():
            if value is TOMBSTONE:
                rows.pop(key, None)
            else:
                rows[key] = value
        return rows


def changes_of(delta: PackedRows) -> Iterator[tuple[Any, bytes | Tombstone]]:
    """Yield what a delta says of its keys: a packed value, or that the row is gone.

    No packed value has no bytes, so that is how a row that is gone is written.
    """
    for key, value in delta.items():
        yield key, value or TOMBSTONE
