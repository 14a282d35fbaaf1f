"""The metadata store of a snapshot driver: an `EventStore` with the snapshots projection."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

from eventstore import EventStore, Metadata, ProjectionError
from projections.snapshots.current import CurrentReadTransaction, CurrentWriteTransaction
from projections.snapshots.driving import Driving
from projections.snapshots.past import Past
from projections.snapshots.projection import SNAPSHOTS, SnapshotsProjection
from projections.snapshots.requests import RequestWindow
from projections.snapshots.transaction import SnapshotReadTransaction, SnapshotWriteTransaction

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
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
    from projections.snapshots.operations import SnapshotTransaction
    from projections.snapshots.work import Handler


class MetaStore(Driving, Past):
    """Names, states, parentage, labels and usage of snapshots, with their whole history."""

    def __init__(
        self,
        store: EventStore,
        handlers: Mapping[str, Handler | None] | None = None,
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
        handlers: Mapping[str, Handler | None] | None = None,
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
                `settle`, which this calls, unless `read_only`. None for a kind that stays open
                until somebody ends it. If any are given, intents of other kinds are refused, since
                nobody would settle what a crash leaves of them.
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
        from eventstore import load_store  # noqa: PLC0415 - an open does without

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
            return self._store.begin_read(CurrentReadTransaction)
        metadata = Metadata(actor, reason, request_id)
        return self._store.begin_write(CurrentWriteTransaction, metadata, timeout)

    def watch(self, from_revision: int | None = None, *, timeout: float | None = None) -> Watch:
        """Yield committed batches as they become durable; see `EventStore.watch`."""
        return self._store.watch(from_revision, timeout=timeout)

    def check_receipt(self, receipt: Receipt) -> Batch:
        """Return the batch that a receipt was given for; see `EventStore.check_receipt`."""
        return self._store.check_receipt(receipt)

    def checkpoint(self) -> int:
        """Write a checkpoint; see `EventStore.checkpoint`."""
        return self._store.checkpoint()

    def compact(
        self, *, on_progress: Callable[[str, int, int], object] = lambda what, done, total: None
    ) -> CompactionReport:
        """Write a checkpoint and archive what it supersedes; see `EventStore.compact`."""
        return self._store.compact(on_progress=on_progress)

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
