"""Threads that wait for tasks: what the front for asyncio is made of."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from eventstore import StoreClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from projections.snapshots.metastore import MetaStore
    from projections.snapshots.transaction import SnapshotWriteTransaction

P = ParamSpec("P")
T = TypeVar("T")

_BLOCK = 64


class Calling:
    """A store whose calls that wait are made in threads.

    Attributes:
        store: the store, for what doesn't wait. What waits belongs into `call`.
    """

    def __init__(self, store: MetaStore, threads: int) -> None:
        self.store = store
        self._calls = ThreadPoolExecutor(threads, "snapledger-call")
        self._is_closed = False

    async def call(self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call a function off the event loop, in the context of this task, to its end.

        `await front.call(front.store.compact)`. A cancellation is raised when it has returned.
        """
        return await to_its_end(self._submitted(function, *arguments, **keywords))

    async def _in_blocks(self, items: Iterator[T]) -> AsyncIterator[T]:
        """Yield what an iterator does that reads; some of it at a time is read in a thread."""
        while block := await self.call(_next_block, items):
            for item in block:
                yield item

    def _submitted(
        self, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> Future[T]:
        if self._is_closed:
            raise StoreClosedError(f"{self.store.path}: the store was closed: open it again")
        context = contextvars.copy_context()
        return self._calls.submit(lambda: context.run(function, *arguments, **keywords))


class TurnOfTask:
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


class Beginning:
    """A thread that waits until a transaction begins, for a task that may give up meanwhile."""

    def __init__(self, tx: SnapshotWriteTransaction) -> None:
        self._tx = tx
        self._deciding = threading.Lock()
        self._is_given_up = False
        self._has_begun = False
        self._future: Future[None] = Future()

    async def begun(self) -> SnapshotWriteTransaction:
        """Return the transaction once it has begun; cancelled meanwhile, it is rolled back."""
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


def started(function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
    """Call a function in a thread of its own."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function(*arguments, **keywords))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=call, name="snapledger-open", daemon=True).start()
    return future


async def to_its_end(future: Future[T]) -> T:
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


def _next_block(items: Iterator[T]) -> list[T]:
    return list(islice(items, _BLOCK))
