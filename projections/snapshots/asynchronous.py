"""A thin front for asyncio: the same store, whose waiting is done by threads.

What a transaction does between its begin and its end is done in memory, in microseconds, and is
called as ever, in the event loop. What waits is awaited: for the writer lock, and for the sync of a
commit. Tasks take turns by a lock of the loop, in the order in which they ask; a turn ends when the
batch is appended, so that the next task builds on it while a thread waits for the sync. The batches
of many tasks share syncs, as those of many threads do.

Cancelling a task leaves its transaction done or undone, whole. Cancelled while it waits to begin,
it has not begun, or what has begun is rolled back. Cancelled in its block, it is rolled back.
Cancelled while it commits, the commit goes on to its end, and then the cancellation is raised: the
receipt tells that it is done.

Don't wait for another task inside the block of a write transaction: nobody else writes meanwhile.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, overload

from eventstore import WriterBusyError
from projections.snapshots.asynchronous_driving import AsyncDriving
from projections.snapshots.asynchronous_past import AsyncPast
from projections.snapshots.metastore import MetaStore
from projections.snapshots.waiting import Beginning, TurnOfTask, started, to_its_end

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self, Unpack

    from eventstore import (
        BackupReport,
        Batch,
        CompactionReport,
        Erasure,
        EventStore,
        FileSystem,
        FoundText,
        Projection,
        Receipt,
        RecoveryReport,
        StoreOptions,
        TransactionArguments,
        VerifyReport,
        Watch,
    )
    from projections.snapshots.requests import RequestWindow
    from projections.snapshots.transaction import (
        SnapshotReadTransaction,
        SnapshotWriteTransaction,
    )
    from projections.snapshots.work import Handler


class AsyncMetaStore(AsyncDriving, AsyncPast):
    """A `MetaStore` for the tasks of one event loop.

    It has what `MetaStore` has, but what makes stores (`create`, `restore`, `load`), which is no
    work for a loop, and the current transaction (`transaction_context`), of which two tasks of one
    context would have the same.

    Attributes:
        store: the store, for what doesn't wait. What waits belongs into `call`.
    """

    def __init__(self, store: MetaStore, *, threads: int = 32) -> None:
        """Put the front around an open store.

        Args:
            store: that `close` closes.
            threads: that commits, and other calls, may keep waiting at once, for each of the two.
        """
        super().__init__(store, threads)
        self._turns = asyncio.Lock()
        # Whose write transaction is open: that task would wait for itself.
        self._writer: asyncio.Task[Any] | None = None
        # Apart, since a call may wait for a turn that only a commit can end.
        self._commits = ThreadPoolExecutor(threads, "snapledger-commit")

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        create: bool = True,
        lock_timeout: float | None = None,
        options: StoreOptions | None = None,
        on_rebuild: Callable[[int, int], object] | None = None,
        file_system: FileSystem | None = None,
        projections: Iterable[Projection] = (),
        handlers: Mapping[str, Handler | None] | None = None,
        request_window: RequestWindow | None = None,
    ) -> Self:
        """Open a store off the event loop; arguments and errors are those of `MetaStore.open`.

        Handlers are plain functions, called in another thread. Cancelled meanwhile, it closes what
        it opened.
        """
        opening = started(
            MetaStore.open,
            path,
            read_only=read_only,
            create=create,
            lock_timeout=lock_timeout,
            options=options,
            on_rebuild=on_rebuild,
            file_system=file_system,
            projections=projections,
            handlers=handlers,
            request_window=request_window,
        )
        try:
            return cls(await to_its_end(opening))
        except asyncio.CancelledError:
            if opening.exception() is None:
                await to_its_end(started(opening.result().close))
            raise

    @overload
    def transaction(
        self, writable: Literal[False] = False, **arguments: Unpack[TransactionArguments]
    ) -> AbstractAsyncContextManager[SnapshotReadTransaction]: ...
    @overload
    def transaction(
        self, writable: Literal[True], **arguments: Unpack[TransactionArguments]
    ) -> AbstractAsyncContextManager[SnapshotWriteTransaction]: ...
    def transaction(
        self,
        writable: bool = False,
        *,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Any]:
        """Return an asynchronous context manager that gives a transaction of `MetaStore`.

        Arguments and errors are those of `MetaStore.transaction`; the timeout counts all waiting.
        """
        if not writable:
            return self._reading()
        return self._writing(
            {"actor": actor, "reason": reason, "request_id": request_id, "timeout": timeout}
        )

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[SnapshotReadTransaction]:
        if self.store.event_store.is_writable:
            now = self.store.transaction()
        else:
            now = await self.call(self.store.transaction)  # a follower reads files
        with now:
            yield now

    @asynccontextmanager
    async def _writing(
        self, arguments: TransactionArguments
    ) -> AsyncIterator[SnapshotWriteTransaction]:
        timeout = arguments.get("timeout")
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        await self._take_turn(timeout)
        turn = TurnOfTask(loop, self._turns)
        try:
            tx = await self._begun(arguments, None if deadline is None else deadline - loop.time())
        except BaseException:
            turn.end()
            raise
        tx.call_when_appended(turn.end_from_thread)
        self._writer = asyncio.current_task()
        try:
            yield tx
        except BaseException as error:
            self._writer = None
            await self._ended(tx, turn, error)
            raise
        self._writer = None
        await self._ended(tx, turn, None)

    async def _take_turn(self, timeout: float | None) -> None:
        if self._writer is not None and self._writer is asyncio.current_task():
            raise WriterBusyError(
                "this task has a write transaction of this store open already: end that one first"
            )
        try:
            async with asyncio.timeout(timeout):
                await self._turns.acquire()
        except TimeoutError:
            raise WriterBusyError(
                f"the writer lock was not free within {timeout} s: other tasks have it"
            ) from None

    async def _begun(
        self, arguments: TransactionArguments, timeout: float | None
    ) -> SnapshotWriteTransaction:
        """Begin a transaction: at once if nobody has the lock, else by a thread that waits."""
        at_once: TransactionArguments = {**arguments, "timeout": 0}
        tx = self.store.transaction(writable=True, **at_once)
        try:
            tx.begin()
        except WriterBusyError:
            if timeout is not None and timeout <= 0:
                raise
        else:
            return tx
        waiting: TransactionArguments = {**arguments, "timeout": timeout}
        tx = self.store.transaction(writable=True, **waiting)
        # A thread of its own, since a thread that begins a transaction counts as its owner.
        return await Beginning(tx).begun()

    async def _ended(
        self, tx: SnapshotWriteTransaction, turn: TurnOfTask, error: BaseException | None
    ) -> None:
        """Commit, or roll back after an error, off the event loop."""
        traceback = None if error is None else error.__traceback__
        error_type = None if error is None else type(error)
        try:
            await to_its_end(self._commits.submit(tx.__exit__, error_type, error, traceback))
        finally:
            turn.end()

    @property
    def path(self) -> str:
        """The directory of the store."""
        return self.store.path

    @property
    def recovery(self) -> RecoveryReport:
        """What opening found and did."""
        return self.store.recovery

    @property
    def event_store(self) -> EventStore:
        """The generic half, whose calls wait: see `call`."""
        return self.store.event_store

    def watch(self, from_revision: int | None = None, *, timeout: float | None = None) -> Watch:
        """Return a watch, which is an asynchronous iterator; see `EventStore.watch`."""
        return self.store.watch(from_revision, timeout=timeout)

    async def check_receipt(self, receipt: Receipt) -> Batch:
        """Return the batch that a receipt was given for; see `EventStore.check_receipt`."""
        return await self.call(self.store.check_receipt, receipt)

    async def checkpoint(self) -> int:
        """Write a checkpoint; see `EventStore.checkpoint`."""
        return await self.call(self.store.checkpoint)

    async def compact(
        self, *, on_progress: Callable[[str, int, int], object] = lambda what, done, total: None
    ) -> CompactionReport:
        """Write a checkpoint and archive what it supersedes; see `EventStore.compact`.

        `on_progress` is called in another thread.
        """
        return await self.call(self.store.compact, on_progress=on_progress)

    async def erase(
        self,
        fields: Mapping[int, Iterable[Sequence[str]]],
        *,
        actor: str,
        reason: str,
        timeout: float | None = None,
    ) -> Erasure:
        """Make label values, actors, reasons and request ids unreadable; see `MetaStore.erase`."""
        return await self.call(
            self.store.erase, fields, actor=actor, reason=reason, timeout=timeout
        )

    async def find_text(self, text: str) -> AsyncIterator[FoundText]:
        """Yield where a text stands in the history; see `EventStore.find_text`."""
        async for found in self._in_blocks(await self.call(self.store.find_text, text)):
            yield found

    async def backup(
        self,
        target: str | os.PathLike[str],
        *,
        verify: bool = False,
        on_batch: Callable[[int], object] = lambda revision: None,
    ) -> BackupReport:
        """Bring a backup up to date, or begin one; `on_batch` is called in another thread.

        See `EventStore.backup`.
        """
        return await self.call(self.store.backup, target, verify=verify, on_batch=on_batch)

    async def dump(self) -> AsyncIterator[bytes]:
        """Yield everything as lines of JSON; see `EventStore.dump`."""
        async for line in self._in_blocks(await self.call(self.store.dump)):
            yield line

    async def verify(self) -> VerifyReport:
        """Read and verify every byte of the store; see `eventstore.verify_store`."""
        return await self.call(self.store.verify)

    async def check(self) -> None:
        """Check every invariant of the tables in memory; see `EventStore.check`."""
        await self.call(self.store.check)

    def stats(self) -> Mapping[str, Any]:
        """Return sizes, counts and the state of background work."""
        return self.store.stats()

    async def close(self) -> None:
        """Wait for the commits that are under way and close the store; once is enough."""
        if self._is_closed:
            return
        await self.call(self.store.close)
        self._is_closed = True
        self._commits.shutdown(wait=False)
        self._calls.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
