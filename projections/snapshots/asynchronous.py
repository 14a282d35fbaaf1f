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
import contextvars
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from eventstore import StoreClosedError, WriterBusyError
from projections.snapshots.metastore import MetaStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import Self, Unpack

    from eventstore import TransactionArguments, Watch
    from projections.snapshots.history import HistoryEntry
    from projections.snapshots.intents import Intent
    from projections.snapshots.requests import Request
    from projections.snapshots.transaction import (
        SnapshotReadTransaction,
        SnapshotWriteTransaction,
    )

P = ParamSpec("P")
T = TypeVar("T")

_HISTORY_BLOCK = 64


class AsyncMetaStore:
    """A `MetaStore` for the tasks of one event loop.

    Attributes:
        store: the store, for what doesn't wait. What waits belongs into `call`.
    """

    def __init__(self, store: MetaStore, *, threads: int = 32) -> None:
        """Put the front around an open store.

        Args:
            store: that `close` closes.
            threads: that commits, and other calls, may keep waiting at once, for each of the two.
        """
        self.store = store
        self._turns = asyncio.Lock()
        # Whose write transaction is open: that task would wait for itself.
        self._writer: asyncio.Task[Any] | None = None
        # Apart, since a call may wait for a turn that only a commit can end.
        self._commits = ThreadPoolExecutor(threads, "snapledger-commit")
        self._calls = ThreadPoolExecutor(threads, "snapledger-call")
        self._is_closed = False

    @classmethod
    async def open(cls, *arguments: Any, **keywords: Any) -> Self:
        """Open a store off the event loop; the arguments are those of `MetaStore.open`.

        Cancelled meanwhile, it closes what it opened.
        """
        opening = _started(MetaStore.open, *arguments, **keywords)
        try:
            return cls(await _to_its_end(opening))
        except asyncio.CancelledError:
            if opening.exception() is None:
                await _to_its_end(_started(opening.result().close))
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
        self, writable: bool = False, **arguments: Unpack[TransactionArguments]
    ) -> AbstractAsyncContextManager[Any]:
        """Return an asynchronous context manager that gives a transaction of `MetaStore`.

        Arguments and errors are those of `MetaStore.transaction`; the timeout counts all waiting.
        """
        if writable:
            return self._writing(arguments)
        return self._reading()

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
        turn = _TurnOfTask(loop, self._turns)
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
        return await _Beginning(tx).begun()

    async def _ended(
        self, tx: SnapshotWriteTransaction, turn: _TurnOfTask, error: BaseException | None
    ) -> None:
        """Commit, or roll back after an error, off the event loop."""
        traceback = None if error is None else error.__traceback__
        error_type = None if error is None else type(error)
        try:
            await _to_its_end(self._commits.submit(tx.__exit__, error_type, error, traceback))
        finally:
            turn.end()

    @asynccontextmanager
    async def intent(self, *arguments: Any, **keywords: Any) -> AsyncIterator[Intent]:
        """Begin an intent; the arguments are those of `MetaStore.intent`."""
        entered = self.store.intent(*arguments, **keywords)
        beginning = self._submitted(entered.__enter__)
        try:
            intent = await _to_its_end(beginning)
        except asyncio.CancelledError as error:
            if beginning.exception() is None:
                await _to_its_end(self._submitted(entered.__exit__, type(error), error, None))
            raise
        try:
            yield intent
        except BaseException as error:
            ending = self._submitted(entered.__exit__, type(error), error, error.__traceback__)
            if not await _to_its_end(ending):
                raise
        else:
            await _to_its_end(self._submitted(entered.__exit__, None, None, None))

    async def once(
        self,
        request_id: str,
        content: Any,
        work: Callable[[SnapshotWriteTransaction], Any],
        **arguments: Any,
    ) -> Request:
        """Carry a request out, unless that was done before; see `MetaStore.once`.

        The work is called in another thread.
        """
        return await self.call(self.store.once, request_id, content, work, **arguments)

    async def call(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call a function off the event loop, in the context of this task, to its end.

        `await front.call(front.store.compact)`. A cancellation is raised when it has returned.
        """
        return await _to_its_end(self._submitted(function, *arguments, **keywords))

    def watch(self, from_revision: int | None = None, *, timeout: float | None = None) -> Watch:
        """Return a watch, which is an asynchronous iterator; see `EventStore.watch`."""
        return self.store.watch(from_revision, timeout=timeout)

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
        while block := await self.call(_next_block, entries):
            for entry in block:
                yield entry

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

    def _submitted(
        self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Future[T]:
        if self._is_closed:
            raise StoreClosedError(f"{self.store.path}: the store was closed: open it again")
        context = contextvars.copy_context()
        return self._calls.submit(lambda: context.run(function, *arguments, **keywords))


class _TurnOfTask:
    """The turn that a task has among the tasks of its loop; it ends once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: asyncio.Lock) -> None:
        self._loop = loop
        self._turns = turns
        self._is_over = False

    def end(self) -> None:
        """End it; called in the loop."""
        if not self._is_over:
            self._is_over = True
            self._turns.release()

    def end_from_thread(self) -> None:
        """Have the loop end it; if the loop is closed, nobody waits."""
        try:
            self._loop.call_soon_threadsafe(self.end)
        except RuntimeError:
            return


class _Beginning:
    """A thread that waits until a transaction begins, for a task that may give up meanwhile."""

    def __init__(self, tx: SnapshotWriteTransaction) -> None:
        self._tx = tx
        self._deciding = threading.Lock()
        self._is_given_up = False
        self._has_begun = False
        self._future: Future[None] = Future()

    async def begun(self) -> SnapshotWriteTransaction:
        threading.Thread(target=self._wait, name="snapledger-begin", daemon=True).start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._future))
        except asyncio.CancelledError:
            with self._deciding:
                self._is_given_up = True
                has_begun = self._has_begun
            if has_begun:
                await asyncio.to_thread(self._tx.rollback)
            raise
        return self._tx

    def _wait(self) -> None:
        try:
            self._tx.begin()
        except BaseException as error:
            self._future.set_exception(error)
            return
        with self._deciding:
            self._has_begun = True
            is_given_up = self._is_given_up
        if is_given_up:
            self._tx.rollback()
        self._future.set_result(None)


def _started(function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
    """Call a function in a thread of its own."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function(*arguments, **keywords))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, name="snapledger-open", daemon=True).start()
    return future


async def _to_its_end(future: Future[T]) -> T:
    """Await what a thread does; a cancellation is raised when it has ended, whatever it gave."""
    waited = asyncio.wrap_future(future)
    cancelled: asyncio.CancelledError | None = None
    while not waited.done():
        try:
            await asyncio.shield(waited)
        except asyncio.CancelledError as error:
            if waited.done() and waited.cancelled():
                raise
            cancelled = error
        except BaseException:
            break
    if cancelled is not None:
        if not waited.cancelled():
            waited.exception()  # is not raised: somebody who gave up is told that he did
        raise cancelled
    return waited.result()


def _next_block(entries: Any) -> list[Any]:
    return list(islice(entries, _HISTORY_BLOCK))
