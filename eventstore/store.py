"""The store: open, transactions, checkpoint, compaction, the past, close.

`EventStore` ties a log (`eventstore.log.interface.Log`) to a state
(`eventstore.tables.state.State`). What it reads of the past, what it proves, and its other parts
are in `eventstore.handle`. Opened for writing it is the only writer, between processes and
within one; opened with `read_only` it follows another process's writer.

Being killed is a legal way to stop: nothing depends on `close`.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from eventstore.arguments import checked_text
from eventstore.errors import (
    ActorRequiredError,
    EventStoreError,
    ReadOnlyStoreError,
    StoreClosedError,
    StoreFailedError,
    WriterBusyError,
    text_of,
)
from eventstore.event import Metadata
from eventstore.files.local import is_of_this_machine
from eventstore.format.codec import checked_metadata
from eventstore.handle.acting import ACTING, fields_event, merged
from eventstore.handle.copying import Copying
from eventstore.handle.dropping import let_go_when_dropped
from eventstore.handle.engine_transaction import EngineTransaction
from eventstore.handle.erasing import ErasingTransaction, Erasure, found_texts
from eventstore.handle.opening import made, opened
from eventstore.handle.past_reads import PastReads
from eventstore.handle.read_transaction import ReadTransaction
from eventstore.handle.upkeep import Upkeep
from eventstore.handle.write_transaction import WriteTransaction
from eventstore.handle.writer_lock import StoreTurn, WriterLock
from eventstore.locks import checked_timeout
from eventstore.maintenance.checkpointing import Checkpointer
from eventstore.maintenance.requests import RequestDesk

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from eventstore.engine_events import Dropping
    from eventstore.event import TransactionArguments
    from eventstore.files.interface import FileSystem
    from eventstore.handle.erasing import FoundText
    from eventstore.handle.opening import Opened
    from eventstore.log.interface import Log
    from eventstore.options import Retention, StoreOptions
    from eventstore.projection import Projection
    from eventstore.reports import CompactionReport, VerifyReport

_SAY_SECONDS = 1.0
"""How long what the engine itself commits waits for the writer lock."""

R = TypeVar("R", bound=ReadTransaction)
W = TypeVar("W", bound=WriteTransaction)
T = TypeVar("T")


class EventStore(PastReads, Copying):
    """A durable log of events and the tables that projections fold them into."""

    def __init__(self, parts: Opened) -> None:
        """Use `EventStore.open`."""
        super().__init__(parts)
        self._writer_lock = WriterLock()
        self._has_let_go = False
        self._when_dropped: weakref.finalize[Any, Any] | None = None
        self._options = parts.options
        # These two are None for who follows another process's writer.
        self._writer: Log | None = None
        self._upkeep: Upkeep | None = None
        if parts.written is not None:
            self._writer, loaded = parts.written
            checkpointer = Checkpointer(
                self.path, self._state, self._writer, self._projections, parts.options, loaded
            )
            files = parts.file_system
            desk = None if files is None else RequestDesk(files, self.path)
            self._upkeep = Upkeep(
                self.path,
                self._writer,
                checkpointer,
                parts.options,
                self._closing,
                desk,
                # Its thread must not keep this from being collected (`dropping`).
                weakref.WeakMethod(self._say_dropped),
            )

    @property
    def is_writable(self) -> bool:
        """Whether it was opened for writing, not to follow another process."""
        return self._writer is not None

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

    @overload
    def transaction(
        self, writable: Literal[False] = False, **arguments: Unpack[TransactionArguments]
    ) -> ReadTransaction: ...
    @overload
    def transaction(
        self, writable: Literal[True], **arguments: Unpack[TransactionArguments]
    ) -> WriteTransaction: ...
    @overload
    def transaction(
        self, writable: bool, **arguments: Unpack[TransactionArguments]
    ) -> ReadTransaction | WriteTransaction: ...
    def transaction(
        self,
        writable: bool = False,
        *,
        actor: str | None = None,
        reason: str | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> ReadTransaction | WriteTransaction:
        """Return a transaction: a context manager that commits on success and else rolls back.

        A read transaction begins at once. One that may write waits for the writer lock and begins
        when it is entered, or first used where it is driven by hand; `WriteTransaction.begin` says
        what that raises.

        Args:
            writable: whether it may emit events; it then holds the writer lock until it ends.
            actor: who, for the batch's metadata.
            reason: why.
            request_id: on behalf of which request.
            timeout: seconds to wait for the writer lock; None for ever.

        Raises:
            StoreFailedError: an earlier write or sync failed.
            StoreClosedError: the store is closed.
            ReadOnlyStoreError: `writable` on a store opened with `read_only`.
            InvalidEventError: actor, reason or request id is not a text.
            ActorRequiredError: the options require an actor, and there is none.
            ValueError: the timeout is negative.
            TypeError: it is no number.
        """
        if not writable:
            return self.begin_read(ReadTransaction)
        return self.begin_write(WriteTransaction, Metadata(actor, reason, request_id), timeout)

    def begin_read(self, transaction_type: type[R]) -> R:
        """Begin a read transaction of a domain's own type.

        Raises:
            StoreClosedError: the store is closed.
            CorruptionError: a follower found the log damaged, or another than before.
        """
        if self._closing.reason is not None:
            raise StoreClosedError(self._closing.reason)
        if self._refresh is not None:
            self._follow(self._refresh)
        state = self._state
        version = state.durable
        if version.next is not None:
            version = state.shown(self._log)
        return transaction_type(state.tables, version)

    def begin_write(
        self, transaction_type: type[W], metadata: Metadata, timeout: float | None = None
    ) -> W:
        """Make a write transaction of a domain's own type; see `transaction`."""
        if self._closing.reason is not None:
            raise StoreClosedError(self._closing.reason)
        log = self._writer or self._written()
        if log.failure is not None:
            self._require_sound(log)
        stated = ACTING.get()
        if stated is not None:
            metadata = merged(metadata, stated.metadata)
        if self._options.require_actor and not metadata.actor:
            raise ActorRequiredError(
                f"{self.path}: the store takes no transaction without an actor",
                "give transaction(actor=…), or enter acting_as(actor=…)",
            )
        transaction = transaction_type(
            self._state,
            log,
            self._writer_lock,
            checked_metadata(metadata),
            None if timeout is None else checked_timeout(timeout, "timeout"),
            self._require_ready,
        )
        if stated is not None and stated.fields:
            transaction.lead_with(fields_event(stated.fields))
        return transaction

    def _require_ready(self) -> None:
        """Make sure that a write transaction may begin; it has the writer lock."""
        if self._closing.reason is not None:
            raise StoreClosedError(self._closing.reason)
        log = self._writer or self._written()
        log.refuse_reentry()
        if log.head.revision != self._state.journal.newest.revision:
            # Interrupts have left a commit whose batch is in the log and not in the tables.
            log.abandon(StoreFailedError("a commit was interrupted"))
        if log.failure is not None:
            self._require_sound(log)
        if self._upkeep is not None:
            self._upkeep.start()

    def checkpoint(self) -> int:
        """Write a checkpoint of the durable state, while transactions go on.

        Returns:
            its revision; nothing is written if the newest checkpoint has that already.

        Raises:
            StorageFullError: there is no space for it.
            ProjectionError: it would lose the tables of a projection that the store was opened
                without, since something was committed that they do not hold.
            Exception: what background maintenance has met since the last call.
        """
        self._closing.require_open()
        return self._own_upkeep().checkpoint()

    def compact(
        self, *, on_progress: Callable[[str, int, int], object] = lambda what, done, total: None
    ) -> CompactionReport:
        """Write a checkpoint, then archive or drop what checkpoints supersede, by retention.

        What is dropped is said in the log before, by an event `eventstore.dropped` with the first
        and last revision, the bytes and the rule. While a write transaction stays open that takes
        longer than a second, and inside of one, nothing is dropped.

        Args:
            on_progress: called now and then with what is being done, "row" of the checkpoint and
                then "segment", how many of these are done, and about how many there are.

        Raises:
            CorruptionError: a segment to be archived is damaged.
            StorageFullError: there is no space for the checkpoint or for a compressed copy.
            ProjectionError: as of `checkpoint`.
            Exception: what background maintenance has met since the last call.
        """
        self._closing.require_open()
        return self._own_upkeep().compact(on_progress)

    def _say_dropped(self, dropping: Dropping, retention: Retention) -> None:
        """Commit that batches are about to be dropped.

        The writer lock is waited for a moment only: whoever has it may wait for this compaction,
        or close the store.

        Raises:
            WriterBusyError: that was not long enough; nothing was committed.
        """
        metadata = dropping.metadata(retention)
        with self.begin_write(EngineTransaction, metadata, _SAY_SECONDS) as transaction:
            transaction.note(dropping.event(retention))

    def erase(
        self,
        fields: Mapping[int, Iterable[Sequence[str]]],
        *,
        actor: str,
        reason: str,
        timeout: float | None = None,
    ) -> Erasure:
        """Make texts in batches unreadable, in log, archive and checkpoints; proofs still hold.

        An event `eventstore.erased` says what was erased, when and by whose order; it is as durable
        as any. Once this returns, the bytes are in no file of the store. After an error or a crash
        the erasure has not begun, or the next open finishes it. Writers wait while the state is
        folded anew, O(batches since the first one named); readers don't, and those that began
        before go on with what they had.

        Args:
            fields: for each revision what goes: `("actor",)`, `("reason",)`, `("request_id",)`, or,
                of an event's data, such as `("data", "labels", "owner")`, what
                `Projection.erasable` allows.
            actor: by whose order.
            reason: why.
            timeout: seconds to wait for the writer lock; None for ever.

        Raises:
            ErasureError: a text is not there, or is needed; or the state can't be made anew, since
                the batches before were dropped and no checkpoint is old enough.
            CompactedError: a batch is no longer kept.
            StorageFullError: there is no space to write a segment anew: free some, and open the
                store again, which goes on.
            Exception: as of `transaction`.
        """
        self._closing.require_open()
        upkeep = self._own_upkeep()
        transaction = self.begin_write(ErasingTransaction, Metadata(actor, reason), timeout)
        with self._closing.told():
            try:
                # The writer lock first: whoever has it may wait for the upkeep.
                transaction.begin()
                with upkeep.turn():
                    receipt = transaction.erase(self.path, self._projections, fields)
                    upkeep.begin_anew(transaction.finish)
            finally:
                transaction.rollback()
        return Erasure(receipt, transaction.revisions)

    def find_text(self, text: str) -> Iterator[FoundText]:
        """Yield where a text stands in the batches that are kept, oldest first. O(log).

        That is: in metadata and in the data of events, by itself or in a longer text.

        Raises:
            CorruptionError: a batch is damaged.
            ValueError: it is empty.
            TypeError: it is no text.
        """
        if not checked_text(text, "text"):
            raise ValueError("an empty text stands everywhere")
        self._closing.require_open()
        shown = self._shown_revision()
        with self._closing.told():
            records = self._log.read(self._log.oldest_revision(), shown)
        return self._closing.told_amid(found_texts(records, self._projections, text))

    def check(self) -> None:
        """Check every invariant of all tables and projections in memory, as the writer has them.

        O(n). Takes no lock: not to be called while another thread has a write transaction.

        Raises:
            AssertionError: one does not hold.
        """
        self._closing.require_open()
        self._state.check()

    def verify(self, *, quick: bool = False) -> VerifyReport:
        """Read and verify what is on disk, beside running transactions; see `verify_store`."""
        self._closing.require_open()
        if self._file_system is None:
            raise EventStoreError(f"{self.path}: a log that was given is verified by its own means")
        # Imported here: an open does without.
        from eventstore.integrity.verify import verify_files, verify_store  # noqa: PLC0415

        with self._closing.told():
            if self._writer is not None:
                # It may still be being made, by this handle.
                return verify_files(self._file_system, self.path, self._projections, quick=quick)
            return verify_store(
                self.path, self._projections, quick=quick, file_system=self._file_system
            )

    def stats(self) -> Mapping[str, Any]:
        """Return sizes, counts and the state of background work.

        The rows are counted as the writer has them: with what an open write transaction has
        changed, and with batches that are not durable yet. `checkpoint_revision` is of the
        newest checkpoint that this handle has loaded or written.
        """
        self._closing.require_open()
        # First: a follower catches up by it, which all of the rest then tells of.
        shown_revision = self._shown_revision()
        with self._closing.told():
            of_log = self._log.stats()
        error = self._upkeep.error if self._upkeep is not None else None
        failure = self._writer.failure if self._writer is not None else None
        return {
            **of_log,
            "durable_revision": shown_revision,
            "rows": {name: table.row_count() for name, table in self._state.tables.items()},
            "checkpoint_revision": self._newest_checkpoint_revision(),
            **self._counted(),
            "failed": None if failure is None else text_of(failure),
            "background_error": None if error is None else text_of(error),
        }

    def _counted(self) -> dict[str, Any]:
        """Return what is counted of a writer's work."""
        recovery = self._log.recovery
        counted: dict[str, Any] = {
            "recovery_seconds": recovery.seconds,
            "recovery_batches": recovery.replayed_batches,
            "rebuilt_projections": len(recovery.rebuilt),
        }
        if self._upkeep is not None:
            counted["checkpoint_seconds"] = self._upkeep.checkpoint_seconds.as_dict()
            counted["lock_wait_seconds"] = self._writer_lock.wait_seconds.as_dict()
        return counted

    def _newest_checkpoint_revision(self) -> int:
        if self._upkeep is None:  # a follower may have begun again from a newer one
            return self._log.recovery.checkpoint_revision
        return self._upkeep.checkpoint_revision

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

    def _require_sound(self, log: Log) -> None:
        if log.failure is not None:
            # The log has the words for it.
            log.wait_until_durable(log.head.revision + 1)

    def _written(self) -> Log:
        """Return the log for whoever writes to it."""
        if self._writer is None:
            raise ReadOnlyStoreError(
                f"{self.path}: the store is open for reading only: open it without read_only"
            )
        return self._writer

    def _own_upkeep(self) -> Upkeep:
        """Return the upkeep for whoever writes to the store."""
        self._written()
        if self._upkeep is None:
            raise AssertionError("a store that is written to has an upkeep")
        return self._upkeep


def _has_none() -> bool:
    """Say that a follower has no thread."""
    return False
