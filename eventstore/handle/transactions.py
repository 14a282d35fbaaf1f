"""The transactions of a handle: reads begin at once, and writers take turns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar, overload

from eventstore.errors import (
    ActorRequiredError,
    ReadOnlyStoreError,
    StoreClosedError,
    StoreFailedError,
)
from eventstore.event import Metadata
from eventstore.format.codec import checked_metadata
from eventstore.handle.acting import ACTING, fields_event, merged
from eventstore.handle.read_transaction import ReadTransaction
from eventstore.handle.reading import Reading
from eventstore.handle.write_transaction import WriteTransaction
from eventstore.handle.writer_lock import WriterLock
from eventstore.locks import checked_timeout

if TYPE_CHECKING:
    from typing import Unpack

    from eventstore.event import TransactionArguments
    from eventstore.handle.opening import Opened
    from eventstore.log.interface import Log

R = TypeVar("R", bound=ReadTransaction)
W = TypeVar("W", bound=WriteTransaction)


class Transactions(Reading):
    """What begins transactions, also of a domain's own types."""

    def __init__(self, parts: Opened) -> None:
        super().__init__(parts)
        self._options = parts.options
        self._writer_lock = WriterLock()
        # None for who follows another process's writer.
        self._writer: Log | None = None if parts.written is None else parts.written.log

    @property
    def is_writable(self) -> bool:
        """Whether it was opened for writing, not to follow another process."""
        return self._writer is not None

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
