"""Carrying a checkpoint over to newer versions of its projections, where they know how to.

The result is a checkpoint as the newer versions would have written it, in memory only: whoever
reads checkpoints asks here first, and needs no rule of its own for older ones. What a projection
does not carry over stays as it was found, so that it counts as stale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, overload

from eventstore.checkpoints.reader import TableName
from eventstore.checkpoints.writer import packed_rows
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.event import Event
from eventstore.projection import Projection
from eventstore.tables.state import State
from eventstore.tables.stored import StoredRows
from eventstore.tables.version import Version
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.projection import WritableTables

_EXHAUSTED = (MemoryError, RecursionError)
_UPGRADE = Event("upgrade", None)


class _Upgrade(Projection):
    """What folds tables of an older version into those of a newer one, as if that were an event.

    Attributes:
        is_done: whether the projection could.
    """

    def __init__(self, projection: Projection, version: int) -> None:
        self.name, self.version = projection.name, projection.version
        self.tables = projection.tables
        self.is_done = False
        self._projection = projection
        self._old_version = version

    def apply(self, event: Event, tables: WritableTables) -> None:
        """Upgrade the tables."""
        _ = event
        self.is_done = self._projection.upgrade(self._old_version, tables)


@overload
def carried_over(projections: Sequence[Projection], checkpoint: None) -> None: ...
@overload
def carried_over(projections: Sequence[Projection], checkpoint: Checkpoint) -> Checkpoint: ...
def carried_over(
    projections: Sequence[Projection], checkpoint: Checkpoint | None
) -> Checkpoint | None:
    """Return a checkpoint with the tables of the projections' versions, as far as can be.

    The same one if there is nothing to carry over.

    Raises:
        ProjectionError: an `upgrade` has failed.
        CorruptionError: it met damage in the rows.
    """
    if checkpoint is None:
        return None
    for projection in projections:
        own = [table for table in checkpoint.tables if table[0].projection == projection.name]
        versions = {name.projection_version for name, _ in own}
        if len(versions) == 1 and (version := versions.pop()) < projection.version:
            tables = _upgraded(projection, version, checkpoint)
            if tables is not None:
                others = [table for table in checkpoint.tables if table not in own]
                checkpoint = replace(checkpoint, tables=(*others, *tables))
    return checkpoint


def _upgraded(
    projection: Projection, version: int, checkpoint: Checkpoint
) -> tuple[tuple[TableName, StoredRows], ...] | None:
    """Return what a projection makes of the tables of an older version; None if it can't."""
    held = {
        name.table: rows for name, rows in checkpoint.tables if name.projection == projection.name
    }
    start = Version(checkpoint.revision, checkpoint.digest, checkpoint.time_ns)
    upgrade = _Upgrade(projection, version)
    state = State([upgrade], start, held)
    path = next(iter(held.values())).path
    try:
        state.apply(_UPGRADE)
    except (*_EXHAUSTED, CorruptionError):
        raise
    except Exception as error:  # a user's code, which may raise any: it is told of
        raise ProjectionError(
            f"{path}: projection {projection.name!r} can't carry version {version} over: "
            f"{type(error).__name__}: {error}",
            "Projection.upgrade must return False for what it can't carry over",
        ) from error
    if not upgrade.is_done:
        return None
    changed = {table.name for table, _, _ in state.journal.changes}
    view = View(state.commit(checkpoint.revision, checkpoint.digest, checkpoint.time_ns))
    tables = []
    for name, table in state.tables.items():
        rows = held.get(name)
        if rows is None or name in changed:
            now = ((key, table.packed(key, value)) for key, value in view.raw_items(table))
            rows = StoredRows(packed_rows(now, path))
        tables.append((TableName(projection.name, projection.version, name), rows))
    return tuple(tables)
