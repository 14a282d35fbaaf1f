"""The store: open, transactions, checkpoint, compaction, the past, close.

`EventStore` ties a log (`eventstore.log.interface.Log`) to a state
(`eventstore.tables.state.State`). Opened for writing it is the only writer, between processes and
within one; opened with `read_only` it follows another process's writer.

Being killed is a legal way to stop: nothing depends on `close`.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from eventstore import history
from eventstore.arguments import checked_flag, checked_int, checked_text, checked_whole, excerpt
from eventstore.backend.follower import FollowerLog
from eventstore.backend.opening import hold_file_log, open_file_log
from eventstore.directory.contents import full_disk_is_told
from eventstore.directory.making import making
from eventstore.engine_events import is_engine_event
from eventstore.engine_transaction import EngineTransaction
from eventstore.errors import (
    CompactedError,
    EventStoreError,
    ProofError,
    ReadOnlyStoreError,
    ReceiptError,
    StoreClosedError,
    StoreFailedError,
    WriterBusyError,
    text_of,
)
from eventstore.event import Metadata
from eventstore.files.failures import is_gone, raise_if_gone
from eventstore.files.local import local_file_system
from eventstore.files.paths import absolute
from eventstore.format.codec import checked_metadata
from eventstore.integrity.verify import verify_files, verify_store
from eventstore.locks import checked_timeout, refuse_reentry
from eventstore.log.interface import Wanted
from eventstore.maintenance.background import Maintenance
from eventstore.maintenance.checkpointing import Checkpointer
from eventstore.options import StoreOptions, checked_options
from eventstore.projection import Projection, checked_projections
from eventstore.proofs.publishing import PublishedTree
from eventstore.proofs.store_tree import StoreTree
from eventstore.proofs.tree import ConsistencyProof, InclusionProof, TreeHead
from eventstore.recovery.loading import load_log
from eventstore.tables.checkpoint_reader import no_pause
from eventstore.transaction import ReadTransaction, Receipt, WriteTransaction
from eventstore.upcasting import all_upcasters, upcast
from eventstore.watching import MET_AFTER_A_CLOSE, Watch
from eventstore.writer_lock import StoreTurn, WriterLock

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType
    from typing import Self, Unpack

    from eventstore.engine_events import Dropping
    from eventstore.event import Batch, Event, TransactionArguments
    from eventstore.files.interface import FileSystem
    from eventstore.log.interface import Log, LogReader
    from eventstore.recovery.loading import Loaded
    from eventstore.reports import CompactionReport, RecoveryReport, VerifyReport
    from eventstore.tables.state import State

_logger = logging.getLogger("eventstore")

_SAY_SECONDS = 1.0
"""How long what the engine itself commits waits for the writer lock."""

R = TypeVar("R", bound=ReadTransaction)
W = TypeVar("W", bound=WriteTransaction)


class EventStore:
    """A durable log of events and the tables that projections fold them into."""

    def __init__(
        self,
        path: str,
        log: LogReader,
        state: State,
        projections: Sequence[Projection],
        options: StoreOptions,
        *,
        writer: Log | None,
        refresh: Callable[[], State] | None = None,
        file_system: FileSystem | None,
        checkpointer: Checkpointer | None = None,
    ) -> None:
        """Use `EventStore.open`."""
        self.path = path
        # Where `verify` reads; None where the log was given, which has no files that it knows.
        self._file_system = file_system
        self._log = log
        # The same log where it is written to; None for who follows another process's writer, whose
        # state has then to be brought up to date.
        self._writer = writer
        self._refresh = refresh
        self._state = state
        self._projections = projections
        self._upcasters = all_upcasters(projections)
        self._options = options
        self._writer_lock = WriterLock()
        # Why it can't be used any more; whether it has let go of everything.
        self._closed: str | None = None
        self._has_let_go = False
        # Grows when it is asked for. That of the log, which a compaction saves, is another.
        if file_system is None:
            self._tree = StoreTree.of_log(log)
        else:
            self._tree = StoreTree.of_files(file_system, path, log.store_id)
        # Held by a checkpoint or a compaction.
        self._maintaining = threading.RLock()
        self._checkpointer = checkpointer
        # Whether the close has written down what it should, or has tried to.
        self._is_saved = False
        self._maintenance = Maintenance(self._is_work_due, self._maintain)

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
            UnsupportedFileSystemError: the path is on a network file system.
            UnsupportedPlatformError: no durable sync is known for this platform.
        """
        known = checked_projections(projections)
        directory = absolute(path)
        file_system = file_system or local_file_system()
        checked_flag(read_only, "read_only")
        checked_flag(create, "create")
        options = checked_options(options)
        if log is not None:
            if read_only:
                raise ValueError("a log that is given is written to: read_only can't be with it")
            given = load_log(directory, known, log, on_rebuild)
            return cls._of(directory, log, given, known, options, file_system=None)
        if read_only:
            follower = FollowerLog(file_system, directory, known)
            store = cls(
                directory,
                follower,
                follower.state,
                known,
                options,
                writer=None,
                refresh=follower.refresh,
                file_system=file_system,
            )
            file_system.call_in_forked_child(store._give_up_after_fork)
            _renew_locks_in_children(file_system, follower.state)
            return store
        timeout = checked_timeout(lock_timeout, "lock_timeout")
        with full_disk_is_told(directory, "free some space and open the store again"):
            held = hold_file_log(
                file_system, directory, options, lock_timeout_seconds=timeout, may_create=create
            )
            try:
                files, loaded = open_file_log(
                    held,
                    directory,
                    known,
                    options,
                    on_rebuild=on_rebuild,
                    may_create=create,
                    ends_hold=True,
                )
            except BaseException:
                held.release()
                raise
        return cls._of(directory, files, loaded, known, options, file_system=files.file_system)

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
        in the block counts from then on. After an error, or a crash, there is
        no store: readers and `open` say that the purpose was cut short, and the same call may be
        made again.

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
        known = checked_projections(projections)
        directory = absolute(path)
        file_system = file_system or local_file_system()
        options = checked_options(options)
        checked_text(purpose, "purpose")
        with making(
            file_system,
            directory,
            purpose,
            options,
            lock_timeout_seconds=checked_timeout(lock_timeout, "lock_timeout"),
        ) as held:
            log, loaded = open_file_log(held, directory, known, options, ends_hold=False)
            with cls._of(
                directory, log, loaded, known, options, file_system=log.file_system
            ) as store:
                yield store

    @classmethod
    def _of(
        cls,
        directory: str,
        log: Log,
        loaded: Loaded,
        projections: Sequence[Projection],
        options: StoreOptions,
        *,
        file_system: FileSystem | None,
    ) -> Self:
        """Return the store of a log that was opened for writing, and of what was loaded of it."""
        try:
            store = cls(
                directory,
                log,
                loaded.state,
                projections,
                options,
                writer=log,
                file_system=file_system,
                checkpointer=Checkpointer(
                    directory, loaded.state, log, projections, options, loaded
                ),
            )
            store._process().call_in_forked_child(store._give_up_after_fork)
            _renew_locks_in_children(store._process(), loaded.state)
            if loaded.rebuilt:
                store._save_rebuilt()
        except BaseException:
            # An interrupt: nobody has a handle to close.
            log.close()
            raise
        return store

    @property
    def recovery(self) -> RecoveryReport:
        """What opening found and did."""
        return self._log.recovery

    @property
    def store_id(self) -> bytes:
        """16 bytes, drawn when the store was made."""
        return self._log.store_id

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
        if self._closed is not None:
            raise StoreClosedError(self._closed)
        if self._refresh is not None:
            self._follow(self._refresh)
        state = self._state
        version = state.durable
        if version.next is not None:
            version = state.shown(self._log)
        return transaction_type(state.tables, version)

    def _follow(self, refresh: Callable[[], State]) -> None:
        state = refresh()
        if state is not self._state:  # it has begun again from a checkpoint
            self._state = state
            _renew_locks_in_children(self._process(), state)

    def begin_write(
        self, transaction_type: type[W], metadata: Metadata, timeout: float | None = None
    ) -> W:
        """Make a write transaction of a domain's own type; see `transaction`."""
        if self._closed is not None:
            raise StoreClosedError(self._closed)
        log = self._written()
        if log.failure is not None:
            self._require_sound(log)
        return transaction_type(
            self._state,
            log,
            self._writer_lock,
            checked_metadata(metadata),
            None if timeout is None else checked_timeout(timeout, "timeout"),
            self._require_ready,
        )

    def _require_ready(self) -> None:
        """Make sure that a write transaction may begin; it has the writer lock."""
        if self._closed is not None:
            raise StoreClosedError(self._closed)
        log = self._writer or self._written()
        log.refuse_reentry()
        if log.head.revision != self._state.journal.newest.revision:
            # Interrupts have left a commit whose batch is in the log and not in the tables.
            log.abandon(StoreFailedError("a commit was interrupted"))
        if log.failure is not None:
            self._require_sound(log)
        if self._options.background:
            self._maintenance.start()

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
        self._require_open()
        self._written()
        refuse_reentry(self._maintaining)
        with self._closed_meanwhile():
            self._maintenance.raise_error()
            with self._maintaining:
                self._require_open()
                return self._checkpoints().write(self._maintenance.pause)

    def compact(self) -> CompactionReport:
        """Write a checkpoint, then archive or drop what checkpoints supersede, by retention.

        What is dropped is said in the log before, by an event `eventstore.dropped` with the first
        and last revision, the bytes and the rule. While a write transaction stays open that takes
        longer than a second, and inside of one, nothing is dropped.

        Raises:
            CorruptionError: a segment to be archived is damaged.
            StorageFullError: there is no space for the checkpoint or for a compressed copy.
            ProjectionError: as of `checkpoint`.
            Exception: what background maintenance has met since the last call.
        """
        self._require_open()
        self._written()
        refuse_reentry(self._maintaining)
        with self._closed_meanwhile():
            self._maintenance.raise_error()
            with self._maintaining:
                self._require_open()
                self._checkpoints().write(self._maintenance.pause)
                return self._written().compact(self._maintenance.pause, self._say_dropped)

    def _say_dropped(self, dropping: Dropping) -> bool:
        """Commit that batches are about to be dropped; return whether that is done.

        The writer lock is waited for a moment only: whoever has it may wait for this compaction,
        or close the store.
        """
        retention = self._options.retention
        metadata = dropping.metadata(retention)
        try:
            with self.begin_write(EngineTransaction, metadata, _SAY_SECONDS) as transaction:
                transaction.note(dropping.event(retention))
        except WriterBusyError as error:
            _logger.warning("%s: nothing is dropped this time: %s", self.path, error)
            return False
        return True

    def at(
        self, revision: int | None = None, *, time: datetime | int | None = None
    ) -> ReadTransaction:
        """Return a read transaction on the state as it was at a durable revision or at a time.

        O(batches from the checkpoint before it on). A time is an aware datetime, or nanoseconds.

        Raises:
            CompactedError: the batches that are needed are no longer kept.
            ValueError: neither revision nor time was given, or both were; the revision is not
                reached; or the datetime has no time zone.
            TypeError: the revision is no int, or the time neither a datetime nor an int.
        """
        return self.begin_read_at(ReadTransaction, revision, time=time)

    def begin_read_at(
        self,
        transaction_type: type[R],
        revision: int | None = None,
        *,
        time: datetime | int | None = None,
    ) -> R:
        """Begin a read transaction of a domain's own type on the past; raises as `at` does."""
        state = self._state_at(revision, time=time)
        _renew_locks_in_children(self._process(), state)
        return transaction_type(state.tables, state.durable)

    def _state_at(self, revision: int | None, *, time: datetime | int | None) -> State:
        """Return the state as it was; raises as `at` does."""
        self._require_open()
        if (revision is None) == (time is None):
            raise ValueError("give one of revision and time")
        if revision is None:
            revision = self.revision_at(cast("datetime | int", time))
        revision = checked_int(revision, "a revision")
        shown = self._shown_revision()
        if not 0 <= revision <= shown:
            raise ValueError(f"revision {excerpt(revision)} is not there: the store is at {shown}")
        with self._closed_meanwhile():
            return history.state_at(self._log, self._projections, revision)

    def batches(
        self,
        from_revision: int = 1,
        to_revision: int | None = None,
        *,
        since: datetime | int | None = None,
        until: datetime | int | None = None,
        actor: str | None = None,
        type: str | None = None,  # noqa: A002 - the log's word
        reverse: bool = False,
    ) -> Iterator[Batch]:
        """Yield durable batches, from archive and log alike; all that are asked for together.

        Cheap from either end: what an index leaves out is not read.

        Args:
            from_revision: the first.
            to_revision: the last; None for the newest at the time of the call.
            since: none before this: an aware datetime, or nanoseconds since the epoch.
            until: none after this.
            actor: of the batch.
            type: of one of its events at least.
            reverse: newest first.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a batch is damaged.
            ValueError: there is no such first revision, the last one is negative, or a datetime has
                no time zone.
            TypeError: one of them is no int, a time is none, or actor or type is no text.
        """
        self._require_open()
        _require_revision(from_revision)
        if to_revision is not None:
            checked_whole(to_revision, "the last revision", 0)
        for text, name in ((actor, "actor"), (type, "type")):
            if text is not None:
                checked_text(text, name)
        checked_flag(reverse, "reverse")
        shown = self._shown_revision()
        last = shown if to_revision is None else min(to_revision, shown)
        first = from_revision
        with self._closed_meanwhile():
            if since is not None:
                since_ns = history.time_to_ns(since, to_end=False)
                first = max(first, self._log.revision_at(since_ns - 1, last) + 1)
            if until is not None:
                last = min(last, self._log.revision_at(history.time_to_ns(until), last))
        wanted = Wanted(None, actor, type)
        return self._found(first, last, wanted, lambda event: True, reverse=reverse)

    def revision_at(self, time: datetime | int) -> int:
        """Return the last revision whose time is not after a time; 0 if there is none.

        O(log segments), by the index of the past.

        Args:
            time: an aware datetime, or nanoseconds since the epoch.

        Raises:
            CompactedError: the batches of that time are no longer kept.
            ValueError: the datetime has no time zone.
            TypeError: it is neither.
        """
        time_ns = history.time_to_ns(time)
        with self._closed_meanwhile():
            return history.revision_at(self._log, time_ns, self._shown_revision())

    def history(
        self,
        *keys: str,
        from_revision: int | None = None,
        to_revision: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Batch]:
        """Yield the durable batches with an event about any of some keys.

        O(those batches), by the index of the past: see `Projection.keys`.

        Args:
            keys: that `Projection.keys` gives for events.
            from_revision: the first; None for the oldest that is kept.
            to_revision: the last; None for the newest at the time of the call.
            reverse: newest first.

        Raises:
            CompactedError: the first ones are no longer kept.
            CorruptionError: a batch is damaged.
            ProjectionError: a projection can't tell the keys of an event.
            ValueError: there is no such first revision, or the last one is negative.
            TypeError: one of them is no int, or a key no text.
        """
        self._require_open()
        for key in keys:
            checked_text(key, "a key")
        checked_flag(reverse, "reverse")
        oldest = self.oldest_revision()
        first = oldest if from_revision is None else from_revision
        _require_revision(first)
        if to_revision is not None:
            checked_whole(to_revision, "the last revision", 0)
        shown = self._shown_revision()
        last = shown if to_revision is None else min(to_revision, shown)

        asked = frozenset(keys)

        def is_about(event: Event) -> bool:
            return not is_engine_event(event) and any(
                not asked.isdisjoint(each.keys(upcast(event, each.upcasters)))
                for each in self._projections
            )

        return self._found(first, last, Wanted(keys=keys), is_about, reverse=reverse)

    def _found(
        self,
        first: int,
        last: int,
        wanted: Wanted,
        is_about: Callable[[Event], bool],
        *,
        reverse: bool,
    ) -> Iterator[Batch]:
        """Yield the batches from one revision to another that are wanted, until the close."""
        found = history.search(
            self._log, first, last, wanted, is_about, self._upcasters, reverse=reverse
        )
        return self._until_closed(found)

    def watch(self, from_revision: int | None = None, *, timeout: float | None = None) -> Watch:
        """Yield committed batches as they become durable, without gaps, until the store closes.

        The watch is an iterator and an asynchronous one (`async for batch in store.watch()`), which
        `close` ends from any thread. It is woken by a commit, also of another process.

        Args:
            from_revision: the first; None for the next one to be committed.
            timeout: end after this many seconds without a batch; None to wait for ever.

        Raises:
            CompactedError: the start is no longer kept.
            ValueError: there is no such first revision.
            TypeError: it is no int.
        """
        self._require_open()
        timeout = checked_timeout(timeout, "timeout")
        first = self._shown_revision() + 1 if from_revision is None else from_revision
        _require_revision(first)
        oldest = self.oldest_revision()
        if first < oldest:
            raise CompactedError(first, oldest)
        return Watch(
            self._log,
            first,
            self._shown_revision,
            lambda: self._closed is not None,
            timeout,
            upcasters=self._upcasters,
        )

    def oldest_revision(self) -> int:
        """Return the first revision whose batch can still be read."""
        with self._closed_meanwhile():
            return self._log.oldest_revision()

    def check_receipt(self, receipt: Receipt) -> Batch:
        """Return the batch that a receipt was given for.

        Reads and verifies up to 128 batches before it too; where its segment has no index yet, all
        before it in its segment, about 17 µs for each.

        Raises:
            ReceiptError: it was not given by this store, or the history is another one.
            CompactedError: the batch is no longer kept.
            TypeError: it is no receipt, as `Receipt.parse` makes one of a text.
        """
        self._require_open()
        if not isinstance(receipt, Receipt):
            raise TypeError(f"a receipt must be a Receipt, not {excerpt(receipt)}")
        self._require_own_receipt(receipt, self._shown_revision())
        found = history.batches(self._log, receipt.revision, receipt.revision, self._upcasters)
        [batch] = self._until_closed(found)
        if batch.digest != receipt.digest:
            raise ReceiptError(f"revision {receipt.revision} has another digest than the receipt")
        return batch

    def tree_head(self, size: int | None = None) -> TreeHead:
        """Return the head of the Merkle tree over the first so many batches.

        O(batches since the last call) for the first 256 hashes, O(log n) for the rest. Sign it
        (`eventstore.proofs.head_text`) and give it away: whoever has it can later be shown that
        nothing before was altered, dropped or reordered.

        Args:
            size: how many batches; None for all that readers are shown.

        Raises:
            CompactedError: batches were dropped before the store kept a tree.
            CorruptionError: a batch is damaged, or leaves of dropped ones are.
            ValueError: there are not so many batches.
            TypeError: the size is no int.
        """
        tree, shown = self._grown_tree()
        return tree.head(_checked_size(size, shown))

    def inclusion_proof(self, revision: int | Receipt, size: int | None = None) -> InclusionProof:
        """Return why a batch is in the tree, kept or dropped by retention.

        Args:
            revision: of the batch, or the receipt of its commit.
            size: of the tree; None for all batches that readers are shown.

        Raises:
            ReceiptError: it was not given by this store, or the history is another one.
            ValueError: there is no such revision, or there are not so many batches.
            CompactedError: as of `tree_head`.
            CorruptionError: as of `tree_head`.
            TypeError: one of them has another type.
        """
        tree, shown = self._grown_tree()
        size = _checked_size(size, shown)
        receipt = revision if isinstance(revision, Receipt) else None
        if receipt is not None:
            self._require_own_receipt(receipt, shown)
            revision = receipt.revision
        revision = checked_int(cast("int", revision), "a revision")
        if not 1 <= revision <= size:
            raise ValueError(f"revision {excerpt(revision)} is not in a tree of {size} batches")
        proof = tree.inclusion(revision, size)
        if receipt is not None and proof.digest != receipt.digest:
            raise ReceiptError(f"revision {revision} has another digest than the receipt")
        return proof

    def consistency_proof(self, old: int | TreeHead, size: int | None = None) -> ConsistencyProof:
        """Return why the tree continues an older one: all of that, unaltered, in its order.

        Args:
            old: the older head, or its size.
            size: of the newer tree; None for all batches that readers are shown.

        Raises:
            ProofError: the tree does not continue the older one: the store has fewer batches, or
                the head is of another history.
            ValueError: the older size is negative, or larger than the newer one; or there are not
                so many batches.
            CompactedError: as of `tree_head`.
            CorruptionError: as of `tree_head`.
            TypeError: one of them has another type.
        """
        tree, shown = self._grown_tree()
        size = _checked_size(size, shown)
        old_size = checked_whole(old.size if isinstance(old, TreeHead) else old, "a size", 0)
        if old_size > shown:
            raise ProofError(
                f"{self.path}: the store has {shown} batches, fewer than the {excerpt(old_size)} "
                "of the older head: the end of its log was cut off, or the head is of another store"
            )
        if old_size > size:
            raise ValueError(f"a tree of {size} batches can't continue one of {old_size}")
        proof = tree.consistency(old_size, size)
        if isinstance(old, TreeHead):
            proof.check(old)
        return proof

    def published_tree(self) -> PublishedTree:
        """Return the tree as files that anyone can fetch; raises as `tree_head` does."""
        tree, shown = self._grown_tree()
        return PublishedTree(tree, shown)

    def check(self) -> None:
        """Check every invariant of all tables and projections in memory, as the writer has them.

        O(n). Takes no lock: not to be called while another thread has a write transaction.

        Raises:
            AssertionError: one does not hold.
        """
        self._require_open()
        self._state.check()

    def verify(self, *, quick: bool = False) -> VerifyReport:
        """Read and verify what is on disk, beside running transactions; see `verify_store`."""
        self._require_open()
        if self._file_system is None:
            raise EventStoreError(f"{self.path}: a log that was given is verified by its own means")
        with self._closed_meanwhile():
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
        self._require_open()
        # First: a follower catches up by it, which all of the rest then tells of.
        shown_revision = self._shown_revision()
        with self._closed_meanwhile():
            of_log = self._log.stats()
        error = self._maintenance.error
        failure = self._writer.failure if self._writer is not None else None
        return {
            **of_log,
            "durable_revision": shown_revision,
            "rows": {name: table.row_count() for name, table in self._state.tables.items()},
            "checkpoint_revision": self._newest_checkpoint_revision(),
            "failed": None if failure is None else text_of(failure),
            "background_error": None if error is None else text_of(error),
        }

    def _newest_checkpoint_revision(self) -> int:
        if self._refresh is not None:  # a follower may have begun again from a newer one
            return self._log.recovery.checkpoint_revision
        return self._checkpointer.revision if self._checkpointer is not None else 0

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
        refuse_reentry(self._maintaining)
        self._log.refuse_reentry()
        with StoreTurn(self._writer_lock) if self._writer is not None else nullcontext():
            self._closed = f"{self.path}: the store was closed: open it again"
            self._maintenance.close()
            self._save_at_close()
            with self._maintaining:
                self._log.close()
            self._has_let_go = True

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
        if self._closed is None:
            self._closed = (
                f"{self.path}: this process was forked from the one that opened the store: open "
                "it in the child, after the parent has closed it"
            )
            self._has_let_go = True
            self._writer_lock.renew_lock()
            self._log.abandon_after_fork()

    def _process(self) -> FileSystem:
        """Return what knows when this process forks."""
        return self._file_system or local_file_system()

    def _shown_revision(self) -> int:
        """Return the revision that everybody is shown: that which a read transaction would see."""
        if self._refresh is not None:
            self._follow(self._refresh)
        return self._state.shown(self._log).revision

    def _require_own_receipt(self, receipt: Receipt, shown: int) -> None:
        if receipt.store_id != self.store_id:
            raise ReceiptError("the receipt was given by another store")
        if not isinstance(receipt.revision, int) or not 1 <= receipt.revision <= shown:
            raise ReceiptError(
                f"revision {excerpt(receipt.revision)} is not there: the store is at {shown}"
            )

    def _grown_tree(self) -> tuple[StoreTree, int]:
        """Return the tree with everything that readers are shown, and how much that is."""
        self._require_open()
        shown = self._shown_revision()
        with self._closed_meanwhile():
            self._tree.grow(shown)
        return self._tree, shown

    @contextmanager
    def _closed_meanwhile(self) -> Iterator[None]:
        """Say that the store was closed, or has gone, also while files were being read.

        Whoever reads waits for nobody, and so a close doesn't wait for him.

        Raises:
            StoreClosedError: the store is closed, before or after.
            StoreFailedError: it was moved or removed.
        """
        self._require_open()
        try:
            yield
        except MET_AFTER_A_CLOSE as error:
            if self._closed is not None:
                raise StoreClosedError(self._closed) from error
            raise_if_gone(error)
            raise

    def _until_closed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield batches; where the store is closed meanwhile, raise `StoreClosedError`."""
        try:
            yield from batches
        except MET_AFTER_A_CLOSE as error:
            if self._closed is None:
                raise_if_gone(error)
                raise
            raise StoreClosedError(self._closed) from error

    def _require_open(self) -> None:
        if self._closed is not None:
            raise StoreClosedError(self._closed)

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

    def _checkpoints(self) -> Checkpointer:
        """Return what writes checkpoints, for whoever writes to the store."""
        self._written()
        if self._checkpointer is None:
            raise AssertionError("a store that is written to has a checkpointer")
        return self._checkpointer

    def _is_checkpoint_due(self) -> bool:
        if self._has_gone():
            return False
        with self._maintaining:
            checkpointer = self._checkpoints()
            checkpointer.take_in(self._maintenance.pause)
            return checkpointer.is_due()

    def _has_gone(self) -> bool:
        """Say whether the store was moved or removed, which has failed the handle.

        A commit makes, opens and removes no file, so it does not see that itself.
        """
        try:
            self._written().look()
        except OSError as error:
            if not is_gone(error):
                raise
            return True
        return False

    def _is_work_due(self) -> bool:
        return self._is_checkpoint_due() or self._written().is_index_behind

    def _maintain(self) -> None:
        with self._maintaining:
            if self._is_checkpoint_due():
                self._checkpoints().write(self._maintenance.pause)
                self._written().compact(self._maintenance.pause, self._say_dropped)
            else:
                self._written().index(self._maintenance.pause)

    def _save_rebuilt(self) -> None:
        """Write down what the open has rebuilt, so that the next one need not do it again."""
        try:
            with self._maintaining:
                self._checkpoints().write(no_pause)
        except (EventStoreError, OSError) as error:
            # Maintenance tries again. The open is as good without.
            _logger.warning("%s: no checkpoint of what was rebuilt: %s", self.path, error)
        except BaseException:
            self.close()
            raise

    def _save_at_close(self) -> None:
        """Leave little to replay to the next open; that this fails takes nothing back."""
        options, checkpointer = self._options, self._checkpointer
        if checkpointer is None or not (options.background and options.checkpoint_on_close):
            return
        if self._is_saved:
            return
        self._is_saved = True  # before it is: what interrupts a close is not held up by another
        try:
            with self._maintaining:
                if checkpointer.is_due_at_close():
                    checkpointer.write(no_pause)
        except (EventStoreError, OSError) as error:
            _logger.warning("%s: no checkpoint at the close: %s", self.path, error)


def _require_revision(revision: int) -> None:
    if checked_int(revision, "a revision") < 1:
        raise ValueError(
            f"there is no revision {excerpt(revision)}: the first batch has revision 1"
        )


def _checked_size(size: int | None, shown: int) -> int:
    if size is None:
        return shown
    if checked_whole(size, "a size", 0) > shown:
        raise ValueError(f"there are no {excerpt(size)} batches: the store is at {shown}")
    return size


def _renew_locks_in_children(file_system: FileSystem, state: State) -> None:
    """See to it that readers of a state can read on in the child of a fork.

    The tables are told, not the state: a reader may be all that is left of it.
    """
    for table in state.tables.values():
        file_system.call_in_forked_child(table.renew_lock)
