"""The metadata store of a snapshot driver: an `EventStore` with the snapshots projection."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

from eventstore import EventStore, Metadata, ProjectionError
from projections.snapshots.driving import Driving
from projections.snapshots.errors import NoTransactionError
from projections.snapshots.history import diff, history, ids_that_had, removal
from projections.snapshots.projection import SNAPSHOTS, SnapshotsProjection
from projections.snapshots.requests import RequestWindow
from projections.snapshots.transaction import (
    SnapshotReadTransaction,
    SnapshotTransaction,
    SnapshotWriteTransaction,
)
from projections.snapshots.validation import checked_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from contextvars import Token
    from datetime import datetime
    from types import TracebackType
    from typing import Self, Unpack

    from eventstore import (
        BackupReport,
        Batch,
        CompactionReport,
        Erasure,
        FileSystem,
        FoundText,
        LoadReport,
        Projection,
        Receipt,
        RecoveryReport,
        RestoreReport,
        StoreOptions,
        TransactionArguments,
        VerifyReport,
        Watch,
    )
    from projections.snapshots.history import HistoryEntry, SnapshotDiff
    from projections.snapshots.projection import Row
    from projections.snapshots.work import Handler

_current: ContextVar[SnapshotTransaction] = ContextVar("snapledger_transaction")


class _CurrentReadTransaction(SnapshotReadTransaction):
    """A read transaction that is the current one in its with statement."""

    __slots__ = ("_token",)

    _token: Token[SnapshotTransaction]

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return super().__enter__()

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._token)
        super().__exit__(error_type, error, traceback)


class _CurrentWriteTransaction(SnapshotWriteTransaction):
    """A write transaction that is the current one in its with statement."""

    __slots__ = ("_token",)

    _token: Token[SnapshotTransaction]

    def __enter__(self) -> Self:
        super().__enter__()
        self._token = _current.set(self)
        return self

    def _leave(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            _current.reset(self._token)
        except ValueError as another:  # it was left in another context
            super()._leave(ValueError, another, None)
            raise
        super()._leave(error_type, error, traceback)


class MetaStore(Driving):
    """Names, states, parentage, labels and usage of snapshots, with their whole history."""

    def __init__(
        self,
        store: EventStore,
        handlers: Mapping[str, Handler] | None = None,
        request_window: RequestWindow | None = None,
    ) -> None:
        """Put the operations around a store that was opened with `SnapshotsProjection`.

        `MetaStore.open` does both; this is for who opens the store in another way, as
        `eventstore.testing` does.

        Args:
            store: the event store.
            handlers: see `open`; nothing is settled yet: `settle` does that.
            request_window: see `open`.

        Raises:
            ProjectionError: it was opened without.
            StoreClosedError: it is closed.
        """
        try:
            with store.transaction() as now:
                now.table(SNAPSHOTS)
        except ProjectionError as error:
            raise ProjectionError(
                f"{store.path}: the store has no tables of snapshots: open it with "
                "SnapshotsProjection, or by MetaStore.open"
            ) from error
        super().__init__(store, handlers or {}, request_window or RequestWindow())

    @classmethod
    def open(
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
        handlers: Mapping[str, Handler] | None = None,
        request_window: RequestWindow | None = None,
    ) -> MetaStore:
        """Open a metadata store, or make one where there is nothing; see `EventStore.open`.

        Args:
            path: as of `EventStore.open`, like all that is not named here.
            read_only: the same.
            create: the same.
            lock_timeout: the same.
            options: the same.
            on_rebuild: the same.
            file_system: the same.
            projections: of the driver's own, beside that of the snapshots: their events are emitted
                in the same transactions.
            handlers: for each kind of intent, what finishes or undoes one that was left open; see
                `settle`, which this calls, unless `read_only`.
            request_window: how long, and how many, requests of `once` are remembered; None for a
                day, and 100,000.

        Raises:
            Exception: as `EventStore.open` does, and what a handler raises; the store is then
                closed again.
        """
        store = EventStore.open(
            path,
            [SnapshotsProjection(), *projections],
            read_only=read_only,
            create=create,
            lock_timeout=lock_timeout,
            options=options,
            on_rebuild=on_rebuild,
            file_system=file_system,
        )
        try:
            opened = cls(store, handlers, request_window)
            if handlers and not read_only:
                opened.settle()
        except BaseException:
            store.close()
            raise
        return opened

    @classmethod
    @contextmanager
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        purpose: str,
        lock_timeout: float | None = None,
        options: StoreOptions | None = None,
        file_system: FileSystem | None = None,
        projections: Iterable[Projection] = (),
    ) -> Iterator[MetaStore]:
        """Make a metadata store with its first content; see `EventStore.create`."""
        with EventStore.create(
            path,
            [SnapshotsProjection(), *projections],
            purpose=purpose,
            lock_timeout=lock_timeout,
            options=options,
            file_system=file_system,
        ) as store:
            yield cls(store)

    @classmethod
    def restore(
        cls,
        source: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        revision: int | None = None,
        time: datetime | int | None = None,
        as_new: bool = False,
        options: StoreOptions | None = None,
        on_batch: Callable[[int], object] = lambda revision: None,
    ) -> RestoreReport:
        """Make a metadata store of a backup; see `eventstore.restore_store`."""
        from eventstore import restore_store  # noqa: PLC0415 - an open does without

        return restore_store(
            source,
            path,
            [SnapshotsProjection()],
            revision=revision,
            time=time,
            as_new=as_new,
            options=options,
            on_batch=on_batch,
        )

    @classmethod
    def load(
        cls,
        lines: BinaryIO,
        path: str | os.PathLike[str],
        *,
        options: StoreOptions | None = None,
        on_batch: Callable[[int], object] = lambda revision: None,
    ) -> LoadReport:
        """Make a metadata store of a dump; see `eventstore.load_store`."""
        from eventstore import load_store  # noqa: PLC0415

        return load_store(lines, path, [SnapshotsProjection()], options=options, on_batch=on_batch)

    @property
    def path(self) -> str:
        """The directory of the store."""
        return self._store.path

    @property
    def recovery(self) -> RecoveryReport:
        """What opening found and did."""
        return self._store.recovery

    @property
    def event_store(self) -> EventStore:
        """The generic half: batches, receipts, past states of tables."""
        return self._store

    @overload
    def transaction(
        self, writable: Literal[False] = False, **arguments: Unpack[TransactionArguments]
    ) -> SnapshotReadTransaction: ...
    @overload
    def transaction(
        self, writable: Literal[True], **arguments: Unpack[TransactionArguments]
    ) -> SnapshotWriteTransaction: ...
    @overload
    def transaction(
        self, writable: bool, **arguments: Unpack[TransactionArguments]
    ) -> SnapshotReadTransaction | SnapshotWriteTransaction: ...
    def transaction(
        self,
        writable: bool = False,
        *,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> SnapshotReadTransaction | SnapshotWriteTransaction:
        """Return a transaction: a context manager that commits on success and else rolls back.

        A read transaction begins at once. One that may write waits for the writer lock and begins
        when it is entered, or first used where it is driven by hand, and holds the lock until it
        ends. Arguments and errors are those of `EventStore.transaction`.
        """
        if not writable:
            return self._store.begin_read(SnapshotReadTransaction)
        metadata = Metadata(actor, reason, request_id)
        return self._store.begin_write(SnapshotWriteTransaction, metadata, timeout)

    def transaction_context(
        self,
        writable: bool = False,
        *,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> AbstractContextManager[SnapshotTransaction, None]:
        """Return a transaction as `transaction` does; its with statement makes it the current one.

        The functions of `projections.snapshots.storage` work on the current transaction of their
        `contextvars` context, until it ends.
        """
        if not writable:
            return self._store.begin_read(_CurrentReadTransaction)
        metadata = Metadata(actor, reason, request_id)
        return self._store.begin_write(_CurrentWriteTransaction, metadata, timeout)

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
        with self.transaction() as now:
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
        with self.transaction() as now:
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
        with self.transaction() as now:
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
        with self.transaction() as now:
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

    def watch(self, from_revision: int | None = None, *, timeout: float | None = None) -> Watch:
        """Yield committed batches as they become durable; see `EventStore.watch`."""
        return self._store.watch(from_revision, timeout=timeout)

    def check_receipt(self, receipt: Receipt) -> Batch:
        """Return the batch that a receipt was given for; see `EventStore.check_receipt`."""
        return self._store.check_receipt(receipt)

    def checkpoint(self) -> int:
        """Write a checkpoint; see `EventStore.checkpoint`."""
        return self._store.checkpoint()

    def compact(self) -> CompactionReport:
        """Write a checkpoint and archive what it supersedes; see `EventStore.compact`."""
        return self._store.compact()

    def erase(
        self,
        fields: Mapping[int, Iterable[Sequence[str]]],
        *,
        actor: str,
        reason: str,
        timeout: float | None = None,
    ) -> Erasure:
        """Make label values, actors, reasons and request ids unreadable; see `EventStore.erase`.

        The value of a label is `("data", "labels", KEY)`.
        """
        return self._store.erase(fields, actor=actor, reason=reason, timeout=timeout)

    def find_text(self, text: str) -> Iterator[FoundText]:
        """Yield where a text stands in the history; see `EventStore.find_text`."""
        return self._store.find_text(text)

    def backup(
        self,
        target: str | os.PathLike[str],
        *,
        verify: bool = False,
        on_batch: Callable[[int], object] = lambda revision: None,
    ) -> BackupReport:
        """Bring a backup up to date, or begin one; see `EventStore.backup`."""
        return self._store.backup(target, verify=verify, on_batch=on_batch)

    def dump(self) -> Iterator[bytes]:
        """Yield everything as lines of JSON; see `EventStore.dump`."""
        return self._store.dump()

    def verify(self) -> VerifyReport:
        """Read and verify every byte of the store; see `eventstore.verify_store`."""
        return self._store.verify()

    def check(self) -> None:
        """Check every invariant of the tables in memory; see `EventStore.check`."""
        self._store.check()

    def stats(self) -> Mapping[str, Any]:
        """Return sizes, counts and the state of background work."""
        return self._store.stats()

    def close(self) -> None:
        """End background work and let go of the store; see `EventStore.close`."""
        self._work.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._work.close()
        self._store.__exit__(error_type, error, traceback)


def current_transaction() -> SnapshotTransaction:
    """Return the transaction that `MetaStore.transaction_context` has made the current one.

    Raises:
        NoTransactionError: there is none.
    """
    try:
        return _current.get()
    except LookupError:
        raise NoTransactionError(
            "no transaction in context: call this inside `with store.transaction_context():`"
        ) from None
