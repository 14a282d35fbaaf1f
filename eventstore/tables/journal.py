"""The journal of a transaction: what its events have changed, so that it can be taken back.

It stands between the tables, which record each change before they make it, and the state, which
says when they may. Every change is recorded twice: in the undo map of the newest version, for
readers, once for each key; and in the journal, for rollback and the writer's own scans, each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore.errors import ProjectionError

if TYPE_CHECKING:
    from eventstore.tables.table import Table
    from eventstore.tables.version import Version

Change = tuple["Table", Any, Any]
"""A table, a key of it, and what that held before it was changed, perhaps packed or ABSENT."""


class Journal:
    """What has been changed since a transaction began, and whether more may be.

    Attributes:
        changes: in order, also those undone: to put the old values back in reverse order is right
            all the same. It only grows until the transaction ends; then another list takes its
            place.
        newest: the last version of the chain: what the next batch builds on.
        open_changes: the same while an event is being applied, else None: no table may be changed.
        is_replaying: whether the events since the begin are from the log.
    """

    __slots__ = ("changes", "is_replaying", "newest", "open_changes")

    def __init__(self, newest: Version) -> None:
        self.newest = newest
        self.is_replaying = False
        self.changes: list[Change] = []
        self.open_changes: list[Change] | None = None

    def record(self, table: Table, key: Any, old: Any) -> None:
        """Keep what a key holds before it is changed, for readers and for rollback.

        Raises:
            ProjectionError: no event is being applied.
        """
        changes = self.open_changes
        if changes is None:
            raise ProjectionError(
                f"table {table.name!r} was changed outside Projection.apply: emit an event"
            )
        undo = self.newest.undo.get(table)
        if undo is None:
            undo = self.newest.undo[table] = {}
        undo.setdefault(key, old)
        changes.append((table, key, old))
