"""The past of the snapshots, for the tasks of an event loop.

It mirrors `projections.snapshots.past`, whose docstrings hold: what reads there is awaited here.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from projections.snapshots.waiting import Calling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from projections.snapshots.history import HistoryEntry, SnapshotDiff
    from projections.snapshots.operations import SnapshotTransaction


class AsyncPast(Calling):
    """The part of an `AsyncMetaStore` that tells what was."""

    @asynccontextmanager
    async def at(
        self, revision: int | None = None, *, time: datetime | int | None = None
    ) -> AsyncIterator[SnapshotTransaction]:
        """Give a read transaction on the snapshots as they were; see `MetaStore.at`."""
        with await self.call(self.store.at, revision, time=time) as past:
            yield past

    async def history(
        self,
        key: str,
        *,
        from_revision: int | None = None,
        to_revision: int | None = None,
        reverse: bool = False,
    ) -> AsyncIterator[HistoryEntry]:
        """Yield every change of the snapshots that ever had a key; see `MetaStore.history`."""
        entries = await self.call(
            self.store.history,
            key,
            from_revision=from_revision,
            to_revision=to_revision,
            reverse=reverse,
        )
        async for entry in self._in_blocks(entries):
            yield entry

    async def ids_of(self, key: str) -> frozenset[str]:
        """Return the ids of all snapshots that ever had a key; see `MetaStore.ids_of`."""
        return await self.call(self.store.ids_of, key)

    async def who_removed(self, key: str, *, at: int | None = None) -> HistoryEntry | None:
        """Return the removal of the snapshot that last had a key; see `MetaStore.who_removed`."""
        return await self.call(self.store.who_removed, key, at=at)

    async def diff(
        self, first: int | datetime, second: int | datetime | None = None
    ) -> AsyncIterator[SnapshotDiff]:
        """Yield what became of each snapshot that was changed; see `MetaStore.diff`."""
        async for each in self._in_blocks(await self.call(self.store.diff, first, second)):
            yield each
