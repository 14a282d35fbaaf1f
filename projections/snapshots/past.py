"""The part of a `MetaStore` that looks back: past states, histories, removals, differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.snapshots.history import diff, history, ids_that_had, removal
from projections.snapshots.projection import SNAPSHOTS
from projections.snapshots.transaction import SnapshotReadTransaction
from projections.snapshots.validation import checked_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eventstore import EventStore
    from projections.snapshots.history import HistoryEntry, SnapshotDiff
    from projections.snapshots.operations import SnapshotTransaction
    from projections.snapshots.projection import Row


class Past:
    """What was, and how it came about."""

    _store: EventStore

    def at(
        self, revision: int | None = None, *, time: datetime | int | None = None
    ) -> SnapshotTransaction:
        """Return a read transaction on the snapshots as they were; see `EventStore.at`."""
        return self._store.begin_read_at(SnapshotReadTransaction, revision, time=time)

    def history(
        self,
        key: str,
        *,
        from_revision: int | None = None,
        to_revision: int | None = None,
        reverse: bool = False,
    ) -> Iterator[HistoryEntry]:
        """Yield every change of the snapshots that ever had a key or name, oldest first.

        A snapshot is followed through its renames, by its id: where one was removed and another
        has its name now, the entries of both come, with different ids. They are read as they are
        asked for, and end with what was committed before the call.

        O(changes), by the index of the past.

        Args:
            key: or name.
            from_revision: the first; None for the oldest that is kept.
            to_revision: the last; None for the newest at the time of the call.
            reverse: newest first.

        Raises:
            InvalidArgumentError: the key is no text.
            StoreClosedError: the store is closed.
            CompactedError: the first ones are no longer kept.
            ValueError: there is no such first revision, or the last one is negative.
        """
        with self._now() as now:
            newest = now.revision
        ids = map(int, self.ids_of(key))
        first = self._store.oldest_revision() if from_revision is None else from_revision
        last = newest if to_revision is None else min(newest, to_revision)
        return history(self._store, ids, first, last, reverse=reverse)

    def ids_of(self, key: str) -> frozenset[str]:
        """Return the ids of all snapshots that ever had a key or name, as far as is kept.

        Raises:
            InvalidArgumentError: the key is no text.
            StoreClosedError: the store is closed.
        """
        checked_text(key, "key")
        with self._now() as now:
            row: Row | None = now.get(SNAPSHOTS, key)
            newest = now.revision
        ids = ids_that_had(self._store, key, newest) | ({int(row[0])} if row else set())
        return frozenset(map(str, ids))

    def who_removed(self, key: str, *, at: int | None = None) -> HistoryEntry | None:
        """Return the removal of the snapshot that a key or name was last given to.

        Two look-ups. That one may have had another name when it was removed.

        Args:
            key: or name.
            at: as of this revision; None for now.

        Returns:
            None if that snapshot is still there, if none ever had the key, or if what is kept of
            the history does not tell of it.

        Raises:
            InvalidArgumentError: the key is no text.
            StoreClosedError: the store is closed.
        """
        checked_text(key, "key")
        with self._now() as now:
            newest = now.revision
        return removal(self._store, key, newest if at is None else min(at, newest))

    def diff(
        self, first: int | datetime, second: int | datetime | None = None
    ) -> Iterator[SnapshotDiff]:
        """Yield what became of each snapshot that was changed between two revisions or times.

        They come in the order in which they were first changed. One that was made and removed in
        between is among them, and was there neither before nor after. O(batches between).

        Args:
            first: the state before: after this revision, or at this time.
            second: the state after; None for now.

        Raises:
            CompactedError: the batches between are no longer kept.
            ValueError: the second is before the first; or one of them is not reached, or has no
                time zone.
            TypeError: one is neither an int nor a datetime.
        """
        with self._now() as now:
            newest = now.revision
        revisions = []
        for moment in (first, second):
            if moment is None:
                revisions.append(newest)
            elif isinstance(moment, int):
                revisions.append(moment)
            else:
                revisions.append(self._store.revision_at(moment))
        before, after = revisions
        if not 0 <= before <= after <= newest:
            raise ValueError(
                f"a difference goes from a revision to a later one, not from {before} to {after}: "
                f"the store is at {newest}"
            )
        return diff(self._store, before, after)

    def _now(self) -> SnapshotReadTransaction:
        return self._store.begin_read(SnapshotReadTransaction)
