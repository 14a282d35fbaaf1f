"""What a handle does with intents: begin, stage, end and settle them.

An intent is *own* while somebody in this process answers for it: while its block runs, until a
staged one is told to be finished, while it is being settled. All others that are open were left,
by a crash or by a block that could not undo its work, and wait for the handler of their kind.

A store has one writing process, so nobody else settles them. A handler runs once in a handle; if
the process dies between its work and the batch that says so, it runs again after the next open, so
it must find its work done and be content.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eventstore import (
    EventStoreError,
    Metadata,
    ReadOnlyStoreError,
    ReadTransaction,
    WriteTransaction,
)
from projections.snapshots import events, intents
from projections.snapshots.automatic import AutomaticTransaction, begin_automatic
from projections.snapshots.callers import called, refuse_async
from projections.snapshots.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from projections.snapshots.intents import INTENTS, LAST_INTENT, Intent
from projections.snapshots.operations import refuse_write
from projections.snapshots.projection import COUNTERS, LAST_ID
from projections.snapshots.transaction import SnapshotReadTransaction, SnapshotWriteTransaction
from projections.snapshots.validation import checked_id_number, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from eventstore import EventStore

Conclusion = Callable[[SnapshotWriteTransaction], object]
"""Called in the transaction that ends a settled intent."""

Handler = Callable[[Intent], Conclusion | None]
"""Finishes or undoes what an intent was for; what it returns can change snapshots with its end."""

_STAGE_BYTES = 16
_ENDS_PER_BATCH = 256
_SETTLING = "settling what was left open"

_logger = logging.getLogger("projections.snapshots")


class Work:
    """The intents of a store, as one handle sees them.

    Attributes:
        handlers: by the kind of intent.
    """

    def __init__(self, store: EventStore, handlers: Mapping[str, Handler | None]) -> None:
        # What is known; anything where nothing is, as in a program that begins no intents.
        self._kinds = frozenset(handlers)
        self.handlers = {kind: each for kind, each in handlers.items() if each is not None}
        for kind, handler in self.handlers.items():
            if not callable(handler):
                raise InvalidArgumentError(
                    f"the handler of {shown(kind)} must be a function, not {shown(handler)}"
                )
            refuse_async(handler, f"the handler of {shown(kind)}")
        self._store = store
        # Held while intents are claimed.
        self._claiming = threading.Lock()
        self._own: set[int] = set()
        self._finished: list[Intent] = []
        # Names that were given, whose blocks are running; and, for each who looks, all since then.
        self._stages: set[str] = set()
        self._seen: dict[int, set[str]] = {}

    @contextmanager
    def begun(
        self,
        kind: str,
        key: str,
        data: Mapping[str, Any] | None,
        metadata: Metadata,
        *,
        reserve_id: bool,
        timeout: float | None,
    ) -> Iterator[Intent]:
        """Begin an intent and undo it where it is left without having been fulfilled."""
        kept = self._checked_work(kind, key, data)
        with self._store.begin_write(SnapshotWriteTransaction, metadata, timeout) as tx:
            id_number = None
            if reserve_id:
                id_number = tx.get(COUNTERS, LAST_ID, 0) + 1
                tx.emit(events.ids_reserved(id_number))
            intent = self._noted(tx, kind, key, kept, id_number, is_staged=False)
        try:
            yield intent
        finally:
            # Also where the block ends without an error: it may have thought better of it.
            try:
                self._undo(intent)
            except EventStoreError as error:
                # What broke the block is on its way; the next open lists the intent if it is open.
                _logger.warning("%s: intent %s is left open: %s", self._store.path, intent, error)
            finally:
                self._own.discard(intent.number)

    @contextmanager
    def staging(self, prefix: str) -> Iterator[str]:
        """Give a name that no other stage gets, and count it as in flight in this block."""
        with self._store.begin_read(SnapshotReadTransaction):
            pass  # a closed store gives no names
        import secrets  # noqa: PLC0415 - an open does without

        name = prefix + secrets.token_hex(_STAGE_BYTES)
        self._stages.add(name)
        for seen in tuple(self._seen.values()):
            seen.add(name)
        try:
            yield name
        finally:
            self._stages.discard(name)

    @contextmanager
    def stages_seen(self) -> Iterator[Set[str]]:
        """Give the names of the stages whose blocks are running, or begin while this one does."""
        seen: set[str] = set()
        self._seen[id(seen)] = seen
        try:
            seen |= self._stages.copy()
            yield seen
        finally:
            del self._seen[id(seen)]

    def stage(
        self,
        tx: SnapshotWriteTransaction,
        kind: str,
        key: str,
        data: Mapping[str, Any] | None,
        snapshot_id: str | None,
    ) -> Intent:
        """Record a stage in a transaction, and there the end of those that were finished."""
        self._require_writes(tx)
        kept = self._checked_work(kind, key, data)
        id_number = None if snapshot_id is None else _known_id(tx, snapshot_id)
        self._end_finished(tx)
        return self._noted(tx, kind, key, kept, id_number, is_staged=True)

    def finished(self, intent: Intent) -> None:
        """Note that the work of a staged intent is on stable storage."""
        if not self._store.is_writable:
            raise ReadOnlyStoreError(
                f"{self._store.path}: the store is open for reading only: open it without read_only"
            )
        intents.checked_intent(intent)
        with self._store.begin_read(SnapshotReadTransaction) as now:
            is_open = now.get(INTENTS.name, intent.number) == intent
        if not (intent.is_staged and is_open):
            state = "not open" if intent.is_staged else "not a staged one"
            raise FailedPreconditionError(
                f"intent {intent.number}, {shown(intent.kind)} of {shown(intent.key)}, is {state}"
            )
        if intent not in self._finished:
            self._finished.append(intent)

    def open_intents(self, *, left_only: bool = False) -> tuple[Intent, ...]:
        """Return those that are open, oldest first."""
        own = self._own.copy() if left_only else ()
        with self._store.begin_read(SnapshotReadTransaction) as now:
            found = [intent for _, intent in now.items(INTENTS.name)]
        return tuple(intent for intent in found if intent.number not in own)

    def end(self, intent: Intent, outcome: str) -> None:
        """End an intent that is open, in a transaction of its own."""
        with self._begin_for(intents.checked_intent(intent)) as tx:
            tx.end_intent(intent, outcome)

    def settle(self) -> tuple[Intent, ...]:
        """Let the handlers finish or undo what was left; return those that are settled."""
        with self._claiming:
            # Nobody begins or ends one meanwhile, so what is open and not own was left. A handle
            # that follows another one, or has failed, can't tell, and is refused here.
            with begin_automatic(self._store, Metadata(None, _SETTLING, None)) as tx:
                claimed = [
                    intent
                    for number, intent in tx.items(INTENTS.name)
                    if number not in self._own and intent.kind in self.handlers
                ]
            self._own.update(intent.number for intent in claimed)
        handled: list[Intent] = []
        settled: list[Intent] = []
        try:
            for intent in claimed:
                conclusion = self._handled(intent)
                if conclusion is None:
                    handled.append(intent)
                else:
                    self._conclude((intent,), conclusion)
                    settled.append(intent)
        finally:
            # Whatever the next handler has raised, those before it are not asked again.
            try:
                for start in range(0, len(handled), _ENDS_PER_BATCH):
                    self._conclude(tuple(handled[start : start + _ENDS_PER_BATCH]), None)
            finally:
                self._own.difference_update(intent.number for intent in claimed)
        return tuple(sorted((*handled, *settled)))

    def close(self) -> None:
        """Write down what was finished; if that can't be, the next open finds it done."""
        if self._finished:
            with (
                contextlib.suppress(EventStoreError),
                self._begin_for(self._finished[-1], timeout=0) as tx,
            ):
                self._end_finished(tx)

    def _checked_work(self, kind: str, key: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the data of an intent whose kind somebody answers for."""
        kept = intents.checked_work(kind, key, data)
        if self._kinds and kind not in self._kinds:
            known = ", ".join(sorted(map(shown, self._kinds)))
            raise InvalidArgumentError(
                f"there is no handler for intents of kind {shown(kind)}: there are {known}; see "
                "MetaStore.open"
            )
        return kept

    def _require_writes(self, tx: object) -> None:
        """Refuse what is no write transaction of this store; one that has ended says so itself."""
        if isinstance(tx, ReadTransaction):
            refuse_write()
        if not isinstance(tx, WriteTransaction):
            raise InvalidArgumentError(
                f"{shown(tx)} is no transaction: give what "
                "`with store.transaction(writable=True) as tx` gives"
            )
        if not self._store.is_writable or tx.store_id != self._store.store_id:
            raise InvalidArgumentError(
                f"the transaction is of another store, not of this handle of {self._store.path}"
            )

    def _noted(
        self,
        tx: SnapshotWriteTransaction,
        kind: str,
        key: str,
        data: Mapping[str, Any],
        id_number: int | None,
        *,
        is_staged: bool,
    ) -> Intent:
        """Emit the event of an intent, which is own from before anyone else can see it."""
        number = tx.get(COUNTERS, LAST_INTENT, 0) + 1
        event = intents.begun(
            number=number,
            kind=kind,
            key=key,
            data=data,
            id_number=id_number,
            metadata=tx.metadata,
            time_ns=time.time_ns(),
            is_staged=is_staged,
        )
        self._own.add(number)
        tx.emit(event)
        intent: Intent = tx.get(INTENTS.name, number)
        return intent

    def _undo(self, intent: Intent) -> None:
        """End an intent whose block was left, unless that has been done; if there is a handler."""
        with self._begin_for(intent) as tx:
            # After a failed sync nobody knows, and this raises: then nothing may be undone.
            is_open = tx.get(INTENTS.name, intent.number) == intent
        if is_open and intent.kind in self.handlers:
            conclusion = self._handled(intent)
            self._conclude((intent,), conclusion, intents.UNDONE)

    def _handled(self, intent: Intent) -> Conclusion | None:
        """Call the handler; what it raises says for which intent it did."""
        what = f"the handler of {shown(intent.kind)}"
        with self._told(what, intent):
            given = called(what, self.handlers[intent.kind], intent)
            if given is not None and not callable(given):
                raise TypeError(
                    f"{what} gave {shown(given)}, which is no function: it gives None, or what is "
                    "to be called with the transaction that ends the intent"
                )
        return given

    @contextmanager
    def _told(self, what: str, intent: Intent) -> Iterator[None]:
        """Have what is raised say by whom it was, and for which intent."""
        try:
            yield
        except BaseException as error:
            error.add_note(
                f"{self._store.path}: this was raised by {what}, for intent {intent.number} about "
                f"{shown(intent.key)}, begun {intent.time:%Y-%m-%d %H:%M:%S} UTC by "
                f"{intent.actor or 'nobody named'}: the intent stays open"
            )
            raise

    def _conclude(
        self,
        ended: tuple[Intent, ...],
        conclusion: Conclusion | None,
        outcome: str = intents.SETTLED,
    ) -> None:
        with self._begin_for(ended[0]) as tx:
            if conclusion is not None:
                what = f"what the handler of {shown(ended[0].kind)} has given"
                with self._told(what, ended[0]):
                    tx.lent(what, conclusion)
            for intent in ended:
                if tx.get(INTENTS.name, intent.number) == intent:  # else that has fulfilled it
                    tx.end_intent(intent, outcome)

    def _end_finished(self, tx: SnapshotWriteTransaction) -> None:
        """End what was finished; it is forgotten once a batch before this one has said so."""
        left = [each for each in self._finished if tx.get(INTENTS.name, each.number) == each]
        for intent in self._finished:
            if intent not in left:
                self._own.discard(intent.number)
        for intent in left:
            tx.emit(intents.ended(intent, intents.DONE))
        self._finished = left

    def _begin_for(self, intent: Intent, timeout: float | None = None) -> AutomaticTransaction:
        """Return a transaction that ends an intent, on behalf of who began it."""
        reason = f"end of intent {intent.number}, {intent.kind} of {intent.key}"
        metadata = Metadata(intent.actor, reason, intent.request_id)
        return begin_automatic(self._store, metadata, timeout)


def _known_id(tx: SnapshotWriteTransaction, snapshot_id: str) -> int:
    """Return the number of an id that was given out, or reserved, as far as a transaction sees."""
    number, last_id = checked_id_number(snapshot_id), tx.get(COUNTERS, LAST_ID, 0)
    if number > last_id:
        raise NotFoundError(
            f"no snapshot has or had the id {shown(snapshot_id)}, and no intent has reserved it: "
            f"the last one is {last_id}"
        )
    return number
