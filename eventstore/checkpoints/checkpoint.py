"""A checkpoint as it was loaded, and as it is to be written.

A base holds all rows, a delta those that were changed since the checkpoint before it; so what a
checkpoint costs goes by what has changed. Which files make which state is told by their names
(`chains`), how one is read and written by `reader` and `writer`; `loader` lists them, and loads
them as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eventstore.format.checkpoint import CheckpointIdentity
from eventstore.tables.packed import PackedRows
from eventstore.tables.stored import StoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventstore.checkpoints.reader import TableName


@dataclass(frozen=True, slots=True)
class Checkpoint(CheckpointIdentity):
    """A checkpoint as it was loaded.

    Attributes:
        tables: what each table is, and its rows.
        delta_count: how many deltas were laid over the base.
    """

    tables: tuple[tuple[TableName, StoredRows], ...]
    delta_count: int = 0

    @property
    def base_rows(self) -> int:
        """How many rows the base holds."""
        return sum(rows.packed.row_count for _, rows in self.tables)

    @property
    def changed_rows(self) -> int:
        """How many rows the deltas have changed."""
        return sum(len(rows.changes) for _, rows in self.tables)


@dataclass(frozen=True, slots=True)
class CheckpointContent(CheckpointIdentity):
    """A checkpoint to be written.

    Attributes:
        tables: what each table is, and what begins a walk over its rows in key order: key and
            packed value. A function and not an iterator: writing is tried again when a full disk
            has cut it short, and what is left of an iterator would make a valid file of fewer rows.
        previous: revision and digest of the checkpoint that a delta continues: it has the same
            tables, and of each the rows that were changed since; a value without bytes says that
            the row is gone. None for a base.
    """

    tables: tuple[tuple[TableName, Callable[[], Iterable[tuple[Any, bytes]]]], ...]
    previous: tuple[int, bytes] | None = None


def without_rows(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint with empty tables."""
    return replace(checkpoint, tables=empty_tables(name for name, _ in checkpoint.tables))


def empty_tables(table_names: Iterable[TableName]) -> tuple[tuple[TableName, StoredRows], ...]:
    """Return tables without a row."""
    return tuple((name, StoredRows(PackedRows([], 0, ""))) for name in table_names)
