"""The store: how a handle comes to be, and how it ends.

`EventStore` ties a log (`eventstore.log.interface.Log`) to a state
(`eventstore.tables.state.State`). What it can do is in `eventstore.handle`, a class for each part:
transactions, upkeep, the past, proofs, copies, checks. Opened for writing it is the only writer,
between processes and within one; opened with `read_only` it follows another process's writer.

Being killed is a legal way to stop: nothing depends on `close`.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from eventstore.errors import WriterBusyError
from eventstore.files.local import is_of_this_machine
from eventstore.handle.copying import Copying
from eventstore.handle.dropping import let_go_when_dropped
from eventstore.handle.inspecting import Inspecting
from eventstore.handle.opening import made, opened
from eventstore.handle.past_reads import PastReads
from eventstore.handle.writer_lock import StoreTurn

if TYPE_CHECKING:
    import os
    import weakref
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from eventstore.files.interface import FileSystem
    from eventstore.handle.opening import Opened
    from eventstore.log.interface import Log
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection


class EventStore(PastReads, Copying, Inspecting):
    """A durable log of events and the tables that projections fold them into."""

    def __init__(self, parts: Opened) -> None:
        """Use `EventStore.open`."""
        super().__init__(parts)
        self._has_let_go = False
        self._when_dropped: weakref.finalize[Any, Any] | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        projections: Iterable[Projection],
        *,
        read_only: bool = False,
        create: bool = True,
        lock_timeout: float | None = None,
        options: StoreOptions | None = None,
        file_system: FileSystem | None = None,
        on_rebuild: Callable[[int, int], object] | None = None,
        log: Log | None = None,
    ) -> Self:
        """Open a store, or make one where there is nothing, and recover it.

        Args:
            path: a directory; a missing one is made, with those above it.
            projections: what the events are folded into.
            read_only: follow the store of another process: no lock, no repair, no write.
            create: whether a store is made where there is nothing; with `read_only` none ever is.
            lock_timeout: seconds to wait for another process to let go; None not at all.
            options: sizes, policy and retention.
            file_system: that the store is on; the local one unless given.
            on_rebuild: called now and then while projections are rebuilt from the log, and while
                the batches after the newest checkpoint are folded, with the revision reached and
                the last one. A store that is looked after has few of the latter.
            log: a log of another kind than files in a directory, open already: the store is in
                there, the path no more than its name in messages, and `verify` the log's own.
                `close` closes it; where this raises, the caller does.

        Raises:
            NotAStoreError: something else is at the path, or a store that is half made; or
                nothing, with `read_only` or without `create`.
            StoreLockedError: another process, or another handle of this one, holds the store.
            CorruptionError: the store is damaged; it is unchanged, but for LOCK.
            FormatVersionError: the store has a newer format; it is unchanged, but for LOCK.
            StorageFullError: there is no space to make the store.
            ProjectionError: one of the projections is none, they do not fit together, or one must
                be rebuilt and its events are no longer kept.
            ForeignOwnerError: the store's directories belong to another user.
            UnsupportedFileSystemError: the path is on a network file system, and the options do not
                allow that.
            UnsupportedPlatformError: no durable sync is known for this platform.
        """
        parts = opened(
            path,
            projections,
            read_only=read_only,
            create=create,
            lock_timeout=lock_timeout,
            options=options,
            file_system=file_system,
            on_rebuild=on_rebuild,
            log=log,
        )
        return cls._of(parts)

    @classmethod
    @contextmanager
    def create(
        cls,
        path: str | os.PathLike[str],
        projections: Iterable[Projection],
        *,
        purpose: str,
        lock_timeout: float | None = None,
        options: StoreOptions | None = None,
        file_system: FileSystem | None = None,
    ) -> Iterator[Self]:
        """Make a store with its first content: a context manager that gives the open store.

        It becomes a store, and is closed, when the block ends without an error: what was committed
        in the block counts from then on. After an error, or a crash, there is no store: readers and
        `open` say that the purpose was cut short, and the same call may be made again.

        Args:
            path: a directory; a missing one is made, with those above it.
            projections: what the events are folded into.
            purpose: what for, such as "import of FILE": whoever finds it half made reads this.
            lock_timeout: seconds to wait for another process to let go; None not at all.
            options: sizes, policy and retention.
            file_system: that the store is on; the local one unless given.

        Raises:
            StoreExistsError: a store, or something else, is at the path.
            StoreLockedError: another process, or another handle of this one, has the path.
            ForeignOwnerError: the directory belongs to another user.
            NotAStoreError: as of `open`.
            StorageFullError: as of `open`.
            ProjectionError: as of `open`.
            UnsupportedFileSystemError: as of `open`.
            UnsupportedPlatformError: as of `open`.
            TypeError: the purpose is no text.
        """
        making = made(
            path,
            projections,
            purpose=purpose,
            lock_timeout=lock_timeout,
            options=options,
            file_system=file_system,
        )
        with making as parts, cls._of(parts) as store:
            yield store

    @classmethod
    def _of(cls, parts: Opened) -> Self:
        try:
            store = cls(parts)
            store._process().call_in_forked_child(store._give_up_after_fork)
            store._renew_locks_in_children(store._state)
            if parts.written is not None and parts.written.loaded.rebuilt:
                store._own_upkeep().save_rebuilt()
            store._let_go_when_dropped()
        except BaseException:
            # An interrupt: nobody has a handle to close.
            parts.log.close()
            raise
        return store

    def close(self) -> None:
        """End background work and let go of the store; does nothing the second time.

        Waits for what other threads are in the middle of: a write transaction, a checkpoint or a
        compaction that was asked for; but not for a transaction that nobody is left to end. If an
        interrupt ends this, call it again.

        Raises:
            WriterBusyError: this is called inside a write transaction of the same thread: that must
                end first.
            ReentrantUseError: a signal handler or a finalizer called this amid other work.
        """
        if self._has_let_go:
            return
        if self._upkeep is not None:
            self._upkeep.refuse_reentry()
        self._log.refuse_reentry()
        with StoreTurn(self._writer_lock) if self._writer is not None else nullcontext():
            self._closing.reason = f"{self.path}: the store was closed: open it again"
            (self._upkeep or self._log).close()
            self._has_let_go = True
            self._keep_quiet_when_dropped()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except WriterBusyError:
            # The transaction that this thread left open would only hide the error on its way.
            if error is None:
                raise

    def _give_up_after_fork(self) -> None:
        """Make this handle unusable in the child of a fork, which shares files with its parent."""
        if self._closing.reason is None:
            self._closing.reason = (
                f"{self.path}: this process was forked from the one that opened the store: open "
                "it in the child, after the parent has closed it"
            )
            self._has_let_go = True
            self._keep_quiet_when_dropped()
            self._writer_lock.renew_lock()
            self._log.abandon_after_fork()

    def _let_go_when_dropped(self) -> None:
        if self._file_system is not None and not is_of_this_machine(self._file_system):
            return
        if self._upkeep is not None:
            let_go, has_threads = self._upkeep.let_go, self._upkeep.has_threads
        else:
            let_go, has_threads = self._log.close, _has_none
        self._when_dropped = let_go_when_dropped(
            self, self.path, self._closing, let_go, has_threads
        )

    def _keep_quiet_when_dropped(self) -> None:
        if self._when_dropped is not None:
            self._when_dropped.detach()


def _has_none() -> bool:
    """Say that a follower has no thread."""
    return False
