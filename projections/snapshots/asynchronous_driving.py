"""What a driver needs beside the operations on snapshots, for the tasks of an event loop.

It mirrors `projections.snapshots.driving`, whose docstrings hold: what waits there is awaited here.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from projections.snapshots.waiting import Calling, to_its_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from projections.snapshots.history import HistoryEntry
    from projections.snapshots.intents import Intent
    from projections.snapshots.model import Usage
    from projections.snapshots.reconcile import Reconciliation
    from projections.snapshots.requests import Request
    from projections.snapshots.transaction import SnapshotWriteTransaction


class AsyncDriving(Calling):
    """The part of an `AsyncMetaStore` that ties it to a driver's work and to its callers."""

    @asynccontextmanager
    async def intent(
        self,
        kind: str,
        key: str,
        data: Mapping[str, str | int | bytes | None] | None = None,
        *,
        reserve_id: bool = False,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Intent]:
        """Begin work outside the store; see `MetaStore.intent`.

        A handler that undoes it is a plain function, called in another thread. Cancelled in the
        block, the work is undone before the cancellation goes on.
        """
        entered = self.store.intent(
            kind,
            key,
            data,
            reserve_id=reserve_id,
            actor=actor,
            reason=reason,
            request_id=request_id,
            timeout=timeout,
        )
        beginning = self._submitted(entered.__enter__)
        try:
            intent = await to_its_end(beginning)
        except asyncio.CancelledError as error:
            if beginning.exception() is None:
                await to_its_end(self._submitted(entered.__exit__, type(error), error, None))
            raise
        try:
            yield intent
        except BaseException as error:
            ending = self._submitted(entered.__exit__, type(error), error, error.__traceback__)
            if not await to_its_end(ending):
                raise
        else:
            await to_its_end(self._submitted(entered.__exit__, None, None, None))

    def staging(self, prefix: str = "new-") -> AbstractContextManager[str]:
        """Give a name for work that is done before its transaction; see `MetaStore.staging`.

        It waits for nothing: `with`, not `async with`.
        """
        return self.store.staging(prefix)

    def stage(
        self,
        transaction: SnapshotWriteTransaction,
        kind: str,
        key: str,
        data: Mapping[str, str | int | bytes | None] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the domain's word
    ) -> Intent:
        """Record in a transaction that it waits for work outside; see `MetaStore.stage`."""
        return self.store.stage(transaction, kind, key, data, id=id)

    def finished(self, intent: Intent) -> None:
        """Tell that the work of a staged intent is on stable storage; see `MetaStore.finished`."""
        self.store.finished(intent)

    async def abort(self, intent: Intent) -> None:
        """End an intent whose work the caller has undone himself; see `MetaStore.abort`."""
        await self.call(self.store.abort, intent)

    async def intents(self, *, left_only: bool = False) -> tuple[Intent, ...]:
        """Return the intents that are open, oldest first; see `MetaStore.intents`."""
        return await self.call(self.store.intents, left_only=left_only)

    async def settle(self) -> tuple[Intent, ...]:
        """Let the handlers finish or undo what was left open; see `MetaStore.settle`.

        Handlers are plain functions, called in another thread.
        """
        return await self.call(self.store.settle)

    async def once(
        self,
        request_id: str,
        content: Any,
        work: Callable[[SnapshotWriteTransaction], Any],
        *,
        actor: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Request:
        """Carry a request out, unless that was done before; see `MetaStore.once`.

        The work is a plain function, called in another thread.
        """
        return await self.call(
            self.store.once,
            request_id,
            content,
            work,
            actor=actor,
            reason=reason,
            timeout=timeout,
        )

    async def find_request(self, request_id: str) -> Request | None:
        """Return a request of `once` that was committed; see `MetaStore.find_request`."""
        return await self.call(self.store.find_request, request_id)

    async def find_commit(
        self,
        key: str,
        name: str,
        *,
        usage: Usage | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> HistoryEntry | None:
        """Return the commit of a key under a name, if it stands; see `MetaStore.find_commit`."""
        return await self.call(self.store.find_commit, key, name, usage=usage, labels=labels)

    async def reconcile(
        self,
        ids_on_disk: Iterable[str] | Callable[[], Iterable[str]],
        *,
        actor: str | None = None,
        dry_run: bool = False,
    ) -> Reconciliation:
        """Sort what is on the disk; see `MetaStore.reconcile`.

        What lists the names is a plain function, called in another thread.
        """
        return await self.call(self.store.reconcile, ids_on_disk, actor=actor, dry_run=dry_run)
