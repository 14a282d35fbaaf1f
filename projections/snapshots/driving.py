"""What every driver needs beside the operations on snapshots: `MetaStore` has all of it.

Intents for its work outside the store (`projections.snapshots.intents`), reconciling
(`projections.snapshots.reconcile`), and requests that may be repeated
(`projections.snapshots.requests`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventstore import Metadata
from projections.snapshots import requests
from projections.snapshots.callers import refuse_async
from projections.snapshots.errors import FailedPreconditionError
from projections.snapshots.history import commit_of
from projections.snapshots.intents import UNDONE
from projections.snapshots.lent import LentTransaction
from projections.snapshots.model import Kind
from projections.snapshots.projection import SNAPSHOTS
from projections.snapshots.reconcile import reconcile
from projections.snapshots.requests import Request, RequestWindow
from projections.snapshots.transaction import SnapshotReadTransaction, SnapshotWriteTransaction
from projections.snapshots.validation import checked_labels, checked_text, checked_usage, shown
from projections.snapshots.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from eventstore import EventStore
    from projections.snapshots.history import HistoryEntry
    from projections.snapshots.intents import Intent
    from projections.snapshots.model import Usage
    from projections.snapshots.projection import Row
    from projections.snapshots.reconcile import Reconciliation
    from projections.snapshots.work import Handler

_WORK = "the work of a request"


class Driving:
    """The part of a `MetaStore` that ties it to a driver's work and to its callers."""

    def __init__(
        self, store: EventStore, handlers: Mapping[str, Handler | None], window: RequestWindow
    ) -> None:
        self._store = store
        self._work = Work(store, handlers)
        self._request_window = window

    def _reading(self) -> SnapshotReadTransaction:
        return self._store.begin_read(SnapshotReadTransaction)

    def intent(
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
    ) -> AbstractContextManager[Intent]:
        """Begin work outside the store; a context manager that gives the intent, durable by then.

        In the block, do the work; then, in a transaction, what it was for, and `fulfil` the intent
        or give it to `create_snapshot`. If the block is left without that, by an error or not, the
        handler of the kind undoes the work and the intent has ended; where there is no handler, or
        the store has failed, it stays open, and `intents` lists it, also after the next open.

        Args:
            kind: of the work, which says which handler it is for; one that `open` was told of, if
                it was told of any.
            key: of the snapshot that it is about.
            data: what the handler must know; the texts in it are names on the disk that
                `reconcile` counts as in flight.
            reserve_id: whether the intent gets an id of a snapshot that nobody else is given, ever.
            actor: who, as of `transaction`.
            reason: why.
            request_id: on behalf of which request.
            timeout: seconds to wait for the writer lock; None for ever.

        Raises:
            InvalidArgumentError: kind, key or data can't be.
            EventStoreError: as `EventStore.transaction` and `WriteTransaction.commit` do.
        """
        metadata = Metadata(actor, reason, request_id)
        return self._work.begun(kind, key, data, metadata, reserve_id=reserve_id, timeout=timeout)

    def staging(self, prefix: str = "new-") -> AbstractContextManager[str]:
        """Give a name for work that is done before its transaction: a context manager.

        No name is given twice, and `reconcile` counts it as in flight while the block runs.

        Raises:
            StoreClosedError: the store is closed.
        """
        return self._work.staging(prefix)

    def stage(
        self,
        transaction: SnapshotWriteTransaction,
        kind: str,
        key: str,
        data: Mapping[str, str | int | bytes | None] | None = None,
        *,
        id: str | None = None,  # noqa: A002 - the domain's word
    ) -> Intent:
        """Record in a transaction that what it makes waits for work outside, a rename perhaps.

        It costs no sync of its own. Call `finished` once the work is on stable storage. After a
        crash before that, or soon after, the handler of the kind finishes it.

        Args:
            transaction: of this store, which makes the snapshot; a write transaction.
            kind: which handler is to finish it, as of `intent`.
            key: of the snapshot.
            data: what the handler must know, such as the stage's name.
            id: of the snapshot, which `reconcile` then takes for in flight, not for missing; one
                that was given out or reserved, also where the snapshot is removed.

        Raises:
            InvalidArgumentError: kind, key or data can't be, or it is no transaction of this store.
            NotFoundError: nobody was ever given the id.
            ReadOnlyStoreError: the transaction is not writable.
            TransactionClosedError: it has ended.
        """
        return self._work.stage(transaction, kind, key, data, id)

    def finished(self, intent: Intent) -> None:
        """Tell that the work of a staged intent is done *and on stable storage*.

        A rename is there once its directory was synced, which one sync does for all renames before
        it. It is written down with the next batch that stages something, or by `close`; until then
        the intent is open, and to tell it again changes nothing.

        Raises:
            FailedPreconditionError: it is not open, or not a staged one.
            InvalidArgumentError: it is no intent.
            ReadOnlyStoreError: the store is open for reading only.
            StoreClosedError: the store is closed.
        """
        self._work.finished(intent)

    def abort(self, intent: Intent) -> None:
        """End an intent whose work the caller has undone himself.

        Raises:
            FailedPreconditionError: it is not open.
            InvalidArgumentError: it is no intent.
        """
        self._work.end(intent, UNDONE)

    def intents(self, *, left_only: bool = False) -> tuple[Intent, ...]:
        """Return the intents that are open, oldest first.

        Args:
            left_only: without those of blocks that are running, and of stages that this handle has
                not been told of yet: what is left then, a crash or a failed block has left.
        """
        return self._work.open_intents(left_only=left_only)

    def settle(self) -> tuple[Intent, ...]:
        """Let the handlers finish or undo what was left open; return the intents that have ended.

        A handler is called with the intent, outside any transaction. It undoes the work of one that
        is not staged, or finishes it, and finishes that of a staged one. If it returns a function,
        that is called with the transaction that ends the intent, and may change snapshots. Each
        intent is handled once by this handle, whoever calls this; after a crash in between once
        more by the next one, which must find nothing left to do.

        Raises:
            TypeError: a handler gave something to be awaited.
            EventStoreError: no transaction can be begun, as where the store is open for reading
                only, or has failed: then no handler is called, since nobody knows what is open.
            BaseException: what a handler raises, or interrupts it, with a note that says of which
                intent. Those handled before have ended, the others are open.
        """
        return self._work.settle()

    def once(
        self,
        request_id: str,
        content: Any,
        work: Callable[[SnapshotWriteTransaction], Any],
        *,
        actor: str | None = None,
        reason: str | None = None,
        timeout: float | None = None,
    ) -> Request:
        """Carry a request out in a transaction, unless that was done before.

        A request id that was committed within the window of the store (`open`), before a restart or
        a compaction too, gives the first receipt and result again, and nothing is changed. The
        result tells what was done then, not what is now: the snapshot may have been removed since,
        by another request, and is not made anew. A caller who needs it looks it up.

        A request whose work raises is not recorded: it can be made again. Of calls at the same time
        one does the work.

        Args:
            request_id: of the caller's request; it becomes that of the batch.
            content: what is asked for, of None, bool, int, float, str, bytes, and sequences and
                mappings of these; it is compared by a digest.
            work: does it, given the transaction, which commits when it returns; its result is None,
                bool, int, float, str or bytes, or a dict from str to these.
            actor: who, as of `transaction`.
            reason: why.
            timeout: seconds to wait for the writer lock; None for ever.

        Raises:
            FailedPreconditionError: the id was committed with other content.
            InvalidArgumentError: id, content or result can't be.
            TypeError: the work is an async function.
            EventStoreError: as `EventStore.transaction` and `WriteTransaction.commit` do.
            Exception: what the work raises; the transaction is rolled back.
        """
        checked, digest = requests.checked_id(request_id), requests.digest_of(content)
        refuse_async(work, _WORK)
        with self._reading() as now:
            if requests.is_repeat(now, checked, digest):
                return self._required_request(checked)
        metadata = Metadata(actor, reason, checked)
        with self._store.begin_write(LentTransaction, metadata, timeout) as tx:
            # Another call may have done it since the look.
            was_done = requests.is_repeat(tx, checked, digest)
            if not was_done:
                data = requests.record(
                    tx, checked, digest, tx.lent(_WORK, work), self._request_window
                ).data
        if was_done:
            return self._required_request(checked)
        return Request(
            checked, data["result"], data["revision"], data["time_ns"], tx.receipt, is_repeat=False
        )

    def _required_request(self, request_id: str) -> Request:
        found = self.find_request(request_id)
        if found is None:
            raise FailedPreconditionError(
                f"request {shown(request_id)} has left the window of requests just now"
            )
        return found

    def find_request(self, request_id: str) -> Request | None:
        """Return a request of `once` that was committed, None if there is none in the window.

        Raises:
            InvalidArgumentError: it can't be an id.
        """
        checked = requests.checked_id(request_id)
        with self._reading() as now:
            return requests.find(self._store, now, checked)

    def find_commit(
        self,
        key: str,
        name: str,
        *,
        usage: Usage | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> HistoryEntry | None:
        """Return the commit of a key under a name, if it is what made the snapshot that is there.

        For callers without request ids, who repeat a commit after a lost answer: where the first
        one was durable, `commit_active` raises `AlreadyExistsError` or `NotFoundError`, and this
        tells whether that was the same commit. Ask after the transaction has ended. Two look-ups.

        Args:
            key: that was committed.
            name: that it was to get.
            usage: only a commit with this usage; None for any.
            labels: only a commit with these labels; None for any.

        Returns:
            None if the name is no committed snapshot, if it was committed from another key or
            otherwise, if the key is in use again, or if the history that is kept does not tell.

        Raises:
            InvalidArgumentError: one of them can't be.
        """
        checked_text(key, "key")
        with self._reading() as now:
            row: Row | None = now.get(SNAPSHOTS, checked_text(name, "name"))
            if row is None or row[1].kind is not Kind.COMMITTED:
                return None
            if now.get(SNAPSHOTS, key) is not None:
                return None
            newest = now.revision
        found = commit_of(self._store, int(row[0]), newest)
        if found is None:
            return None
        data = found.event.data
        if (data["key"], data["name"]) != (key, name):
            return None
        if usage is not None and checked_usage(usage) != (data["inodes"], data["size"]):
            return None
        if labels is not None and checked_labels(labels) != data["labels"]:
            return None
        return found

    def reconcile(
        self,
        ids_on_disk: Iterable[str] | Callable[[], Iterable[str]],
        *,
        actor: str | None = None,
        dry_run: bool = False,
    ) -> Reconciliation:
        """Sort what is on the disk: live, in flight, removed, unknown; and find what is missing.

        To be called at any time, beside running transactions, too; it waits for the one that is
        under way. Unless `dry_run`, no new snapshot is ever given an unknown name as its id, so
        that whoever removes it, at leisure, removes no snapshot's. O(snapshots), and O(names
        removed) for their history.

        Args:
            ids_on_disk: names of directories, or whatever the driver keeps for a snapshot by its
                id; names that are no ids are in flight or unknown. Or what lists them, as
                `lambda: os.listdir(directory)` does, which is called after a first look at the
                store: of a list that was made before, snapshots that were made since are missing.
            actor: of the batch that is written where an id must be kept from being given; None for
                who acts (`acting_as`), or else "snapledger": this batch, and those that end
                intents which nobody named has begun, are the only ones that need no actor in a
                store that requires one.
            dry_run: write nothing.

        Raises:
            InvalidArgumentError: it is one text, or one of them is no name: a path, or "..".
            EventStoreError: as `EventStore.transaction` and `WriteTransaction.commit` do.
        """
        with self._work.stages_seen() as stages:
            return reconcile(self._store, ids_on_disk, stages, actor, dry_run=dry_run)
