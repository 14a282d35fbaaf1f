"""Write transactions.

A write transaction holds the store's writer lock from begin to end: until it is entered or first
used it holds nothing. What it emits is applied to the tables at once, so it reads its own writes,
and others see nothing of it. It belongs to the thread that began it. Commit returns when the batch
is durable. Nobody leaves a write transaction knowing what a crash could still take back: rollback,
and a commit without events, return when the newest revision that the transaction could read is
durable.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, overload

from eventstore.arguments import excerpt
from eventstore.engine_events import ENGINE_PREFIX
from eventstore.errors import InvalidEventError, ReentrantUseError, StoreFailedError
from eventstore.format.codec import encode_batch, encode_event
from eventstore.handle.receipt import Receipt
from eventstore.handle.table_at import TableAt, ended_error, known_table, unknown_table
from eventstore.handle.writer_lock import Holder, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from types import FrameType, TracebackType
    from typing import Self

    from eventstore.event import Event, Metadata
    from eventstore.handle.writer_lock import WriterLock
    from eventstore.log.interface import Log
    from eventstore.projection import Decode, K, ReadableTable, TableSpec, V
    from eventstore.tables.state import State


class WriteTransaction(Holder):
    """A transaction that may emit events.

    It begins, and takes the writer lock, when its with statement does; where it is driven by hand,
    with the first use or with `begin`. One that was begun and is then dropped, or whose with
    statement an interrupt has ended before `__exit__`, is rolled back by whoever next asks for the
    lock; a `ResourceWarning`, or a warning in the log, says so.

    A subclass may add the operations of a domain; `EventStore.begin_write` makes it.
    """

    __slots__ = (
        "_base_revision",
        "_events",
        "_fields",
        "_has_ended",
        "_is_changing",
        "_is_settled",
        "_lock",
        "_log",
        "_metadata",
        "_on_appended",
        "_require_ready",
        "_state",
        "_timeout_seconds",
        "_turn",
        "receipt",
    )

    def __init__(
        self,
        state: State,
        log: Log,
        lock: WriterLock,
        metadata: Metadata,
        timeout_seconds: float | None,
        require_ready: Callable[[], None],
    ) -> None:
        """Make a transaction that has not begun.

        Args:
            state: that it changes.
            log: that its batch goes to.
            lock: the writer lock, which it holds from begin to end.
            metadata: of the batch.
            timeout_seconds: how long to wait for the lock; None for ever.
            require_ready: called with the lock; raises if nothing can be written.
        """
        self._bound = self._statement = None
        self._state = state
        self._log = log
        self._lock = lock
        self._metadata = metadata
        self._timeout_seconds = timeout_seconds
        self._require_ready = require_ready
        # None, or over, before the begin and after the end.
        self._turn: Turn | None = None
        self._has_ended = False
        # Whether emit, commit or rollback has begun; an error leaves it so, and the stack tells.
        self._is_changing = False
        self._base_revision = -1
        self._events: list[bytes] = []
        # What comes before the first event, if anything does (`acting_as`).
        self._fields: Event | None = None
        self._on_appended: Callable[[], object] | None = None
        # Whether it has waited for what it could read, or its own batch will.
        self._is_settled = False
        self.receipt: Receipt | None = None

    def begin(self) -> None:
        """Wait for the writer lock and begin; does nothing once that is done.

        Raises:
            WriterBusyError: the time is over, or this thread has a write transaction already.
            ReentrantUseError: a signal handler or a finalizer called this amid a commit.
            StoreFailedError: an earlier write or sync failed.
            StoreClosedError: the store is closed.
            TransactionClosedError: the transaction has ended.
        """
        self._begun()

    @property
    def metadata(self) -> Metadata:
        """Who and why, as the batch will say it."""
        return self._metadata

    @property
    def store_id(self) -> bytes:
        """The id of the store that it writes to, as `EventStore.store_id`."""
        return self._log.store_id

    def call_when_appended(self, callback: Callable[[], object]) -> None:
        """Have `commit` call a function once the next writer may begin, before it waits for a sync.

        It must not raise: the commit would be in the log, and the handle would fail.
        """
        self._on_appended = callback

    def lead_with(self, event: Event) -> None:
        """Let an event come before the first one; it is not emitted if there is none."""
        self._fields = event

    @property
    def revision(self) -> int:
        """The revision that this transaction builds on."""
        if self._base_revision < 0:
            self.begin()
        return self._base_revision

    def get(self, table: str, key: Any, default: Any = None) -> Any:
        """Return the value of a key in a table, own writes included, or the default. O(1).

        Raises:
            ProjectionError: no projection of the store has such a table.
            TransactionClosedError: the transaction has ended.
        """
        if self._turn is None or self._turn.is_over:
            self.begin()
        try:
            found = self._state.tables[table]
        except (KeyError, TypeError):
            raise unknown_table(self._state.tables, table) from None
        return found.get(key, default)

    def items(
        self,
        table: str,
        start: Any = None,
        stop: Any = None,
        *,
        decode: Decode | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of a table in key order, from `start` on and before `stop`.

        They are as of the call, whatever this transaction emits meanwhile. The arguments are those
        of `ReadTransaction.items`; with `reverse` all rows are read before the first is yielded.

        Raises:
            ProjectionError: no projection of the store has such a table.
            TransactionClosedError: the transaction has ended, also while iterating.
        """
        turn = self._begun()
        found = known_table(self._state.tables, table).items(start, stop, decode)
        return self._while_open(turn, reversed(list(found)) if reverse else found)

    def by_index(self, table: str, index: str, entry: Hashable) -> Iterator[tuple[Any, Any]]:
        """Yield (key, value) of all rows that have an entry in an index of a table, in key order.

        They are as of the call, whatever this transaction emits meanwhile. The cost and the
        arguments are those of `ReadTransaction.by_index`.

        Raises:
            ProjectionError: there is no such table or index, or the key function fails.
            TypeError: nothing can be such an entry, since it has no hash.
            TransactionClosedError: the transaction has ended, also while iterating.
        """
        turn = self._begun()
        found = known_table(self._state.tables, table).by_index(index, entry)
        return self._while_open(turn, found)

    @overload
    def table(self, table: str) -> ReadableTable: ...
    @overload
    def table(self, table: TableSpec[K, V]) -> ReadableTable[K, V]: ...
    def table(self, table: Any) -> Any:
        """Return a table by its name, or, typed, by its specification.

        Raises:
            ProjectionError: no projection of the store has such a table.
            TransactionClosedError: the transaction has ended.
        """
        if self._turn is None or self._turn.is_over:
            self.begin()
        return TableAt(self, known_table(self._state.tables, table).name)

    def emit(self, event: Event) -> None:
        """Apply an event to all tables and make it part of the batch.

        Raises:
            InvalidEventError: it can't be logged, or its type is one of the engine's own; nothing
                was applied.
            TransactionClosedError: the transaction has ended.
            ReentrantUseError: called by a projection's `apply`, or by what has interrupted another
                change of this transaction; nothing was changed.
            Exception: what a projection's `apply` raised; the event was undone.

        What interrupts this from outside, as a signal handler does, may undo the event or roll the
        whole transaction back.
        """
        if self._fields is not None:
            fields, self._fields = self._fields, None
            self.emit(fields)
        if self._is_changing:
            self._refuse_amid_a_change()
        self._is_changing = True
        self._begun()
        packed = encode_event(event)
        if event.type.startswith(ENGINE_PREFIX):  # as `is_engine_event`, in half of the time
            raise InvalidEventError(
                f"event {excerpt(event.type)}: types that begin with {ENGINE_PREFIX!r} are the "
                "engine's own; give yours another name"
            )
        try:
            self._state.apply(event)
            self._events.append(packed)
        except BaseException as error:
            if not self._state.has_undone(error):
                # The tables may hold what the log will not.
                self._roll_back()
            raise
        self._is_changing = False

    def commit(self) -> Receipt | None:
        """Make the batch durable.

        Returns:
            the receipt; None if there was no event, so that nothing was written.

        Raises:
            BatchTooLargeError: the batch is over the cap; the transaction is rolled back.
            StorageFullError: the disk is full; the transaction is rolled back, the store usable.
            StoreFailedError: the log can't be written; the transaction is rolled back, or it is
                unknown until the store is reopened whether its batch is there.
            TransactionClosedError: the transaction has ended.
            ReentrantUseError: called by a projection's `apply`, or by what has interrupted another
                change of this transaction; nothing was changed.

        The steps, and what an interrupt (KeyboardInterrupt) in or after each of them leaves:

        1. Encode the batch. Rolled back; nothing is in the log, and the store stays usable.
        2. Append it: the log's head moves on, then the batch is queued. Before the head has moved,
           as in 1. After that, the tables are rolled back and the handle fails: whoever waits for
           the same sync can't be told what became of theirs, and only reopening tells whether the
           batch is there.
        3. Make what it changed in the tables their newest version. As in 2, after the append.
        4. Release the writer lock: the next writer builds on the batch. The handle fails, and only
           reopening tells whether the batch is there.
        5. Wait until the batch is on stable storage. As in 4.
        6. Show it to readers, and let go of the versions before it. It is durable; only the
           receipt is missing, and the next reader does what was left.
        7. Make the receipt. As in 6.

        Durability: survives power loss once this returns.
        """
        if self._is_changing:
            self._refuse_amid_a_change()
        self._is_changing = True
        turn = self._begun()
        if not self._events:
            self._roll_back()
            return None
        try:
            payload = encode_batch(self._metadata, self._events)
            ticket = self._log.append(
                payload,
                expected_revision=self._base_revision + 1,
                frees_space=self._frees_space,
            )
            self._state.commit(ticket.revision, ticket.digest, ticket.time_ns)
        except BaseException as error:
            try:
                # Where another interrupt cuts this off, the next append finds the log ahead.
                if self._log.head.revision != self._base_revision:
                    self._log.abandon(error)
            finally:
                self._has_ended = True
                self._end_without_commit(turn)
            self._settle()
            raise
        self._is_settled = self._has_ended = True
        turn.is_over = True
        try:
            self._lock.release(turn)
            if self._on_appended is not None:
                self._on_appended()
            self._log.make_durable(ticket)
        except StoreFailedError:
            raise
        except BaseException as error:
            self._log.abandon(error)
            raise
        # It is shown by now; this lets go of the versions before it.
        self._state.shown(self._log)
        self.receipt = Receipt(self._log.store_id, ticket.revision, ticket.digest)
        return self.receipt

    def _frees_space(self) -> bool:
        """Say whether the batch removes more rows than it adds."""
        return self._state.rows_added() < 0

    def rollback(self) -> None:
        """Take everything back, unless the transaction has ended.

        Raises:
            StoreFailedError: a batch that this transaction could read did not become durable.
            ReentrantUseError: called by a projection's `apply`, or by what has interrupted another
                change of this transaction; nothing was changed.
        """
        if self._is_changing:
            self._refuse_amid_a_change()
        self._is_changing = True
        self._roll_back()

    def _roll_back(self) -> None:
        turn = self._turn
        if turn is not None and self.was_left:
            # Somebody else may be ending it just now: only the lock can tell whose turn it is.
            self._lock.end_gone()
        elif turn is not None and not turn.is_over:
            self._end_without_commit(turn)
        self._has_ended = True
        self._settle()

    def __enter__(self) -> Self:
        if self._is_changing:
            self._refuse_amid_a_change()
        self._enter()
        self._begun()
        return self

    def __del__(self) -> None:
        turn = getattr(self, "_turn", None)
        if turn is not None and not turn.is_over:
            # No more than this: a finalizer may run where this thread holds any other lock. The
            # warning does not get this as its source: whoever records it would keep the lock held.
            warnings.warn(
                f"{turn} was dropped: it is rolled back when the next one begins; commit it, roll "
                "it back, or use a with statement",
                ResourceWarning,
                stacklevel=2,
            )

    def _leave(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Commit, or roll back if there was an error or the transaction has ended."""
        turn = self._turn
        if error_type is None and turn is not None and not turn.is_over:
            self.commit()
        else:
            self.rollback()

    def _begun(self) -> Turn:
        """Begin if need be, and return the turn, which nobody else can end while this is used."""
        statement = self._statement
        if self._has_ended or (statement is not None and statement() is None):  # as `was_left`
            raise ended_error()
        turn = self._turn
        if turn is not None and not turn.is_over:
            return turn
        turn = self._turn = Turn(self, self._metadata)
        try:
            self._lock.acquire(turn, self._timeout_seconds)
            self._require_ready()
            self._state.begin()
            self._base_revision = self._state.journal.newest.revision
        except BaseException:
            turn.is_over = True
            self._lock.release(turn)
            raise
        return turn

    def _refuse_amid_a_change(self) -> None:
        """Raise if the caller of the method that asks is called by a change of this transaction.

        Asked only where a change has begun.

        Between the tables, the events and the log such a call would come where one has what the
        others lack.

        Raises:
            ReentrantUseError: a projection's `apply` or a signal handler makes that call.
        """
        if _is_called_by_a_change():
            raise ReentrantUseError(
                "the transaction is in the middle of a change: neither Projection.apply nor what "
                "interrupts it can emit, commit or roll back; a signal handler sets a flag"
            )

    def _end_without_commit(self, turn: Turn) -> None:
        """Undo the changes and let the next one in, who undoes what an interrupt leaves."""
        try:
            self._state.rollback()
        finally:
            turn.is_over = True
            self._lock.release(turn)

    def _settle(self) -> None:
        """Wait until what this transaction could read is durable, unless that has been done."""
        if not self._is_settled:
            self._log.wait_until_durable(self._base_revision)
            self._is_settled = True

    def _while_open(
        self, turn: Turn, items: Iterator[tuple[Any, Any]]
    ) -> Iterator[tuple[Any, Any]]:
        for item in items:
            if turn.is_over:
                raise ended_error()
            yield item


_CHANGES = frozenset(
    method.__code__
    for method in (WriteTransaction.emit, WriteTransaction.commit, WriteTransaction.rollback)
)


def _is_called_by_a_change() -> bool:
    """Say whether what changes a transaction is among the callers of the method that asks.

    An interrupt can end such a method before it has noted that it is over, but the stack is the
    truth.
    """
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and frame.f_code not in _CHANGES:
        frame = frame.f_back
    return frame is not None
