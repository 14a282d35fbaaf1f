"""A thread's use of a store, recorded: what it asks for, what it is told, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from schedules.history import Kind, Look, Outcome

from eventstore import StoreFailedError
from eventstore.errors import ReceiptError, WriterBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from schedules.checker import Model
    from schedules.history import Change, Logged, Operation, Query, Recorder

    from eventstore import Batch, EventStore, Projection, Receipt

CRASHES: tuple[type[BaseException], ...] = (OSError, StoreFailedError)
"""What a thread may be told once the power is gone, or once an interrupt has failed the handle."""


class Domain(Protocol):
    """What the threads read and write, beside its model."""

    @property
    def projections(self) -> tuple[Projection, ...]:
        """Of the store."""

    @property
    def model(self) -> Model:
        """The sequential specification."""

    def front(self, store: EventStore) -> Any:
        """Return what begins the domain's transactions."""

    def perform(self, tx: Any, change: Change, note_bytes: int) -> bool:
        """Make a change in a write transaction; return False if it is refused."""

    def ask(self, tx: Any, query: Query) -> Any:
        """Answer a question in a transaction."""

    def draw_query(self, random: Random) -> Query:
        """Draw a question."""

    def draw_change(self, random: Random) -> Change:
        """Draw a change."""

    def everything(self) -> list[Query]:
        """Return questions whose answers tell all of a state."""

    def logged(self, batch: Batch) -> Logged:
        """Return what a batch tells of the write that it comes from."""


class RefusedError(Exception):
    """The application gives a transaction up, as for a name that is there already."""


class Held(NamedTuple):
    """A read transaction that goes on."""

    operation: Operation
    transaction: Any


class Client:
    """One thread's use of a store, recorded.

    What may come out of an operation beside its result is in `tolerated`: errors of the medium and
    of a handle that has failed, and interrupts, where a workload provides for these. A follower's
    name begins with "follower".
    """

    def __init__(
        self,
        store: EventStore,
        domain: Domain,
        recorder: Recorder,
        name: str,
        random: Random,
        tolerated: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.store = store
        self.front = domain.front(store)
        self.domain = domain
        self.recorder = recorder
        self.name = name
        self.random = random
        self.tolerated = tolerated
        self.receipts: list[Receipt] = []

    def write(
        self,
        changes: Iterable[Change] = (),
        *,
        gives_up: str | None = None,
        note_bytes: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Run a write transaction.

        Args:
            changes: to make, as far as the domain does not refuse them.
            gives_up: "rollback", or "error" for an exception out of the transaction's block.
            note_bytes: makes the batch longer, where the domain can.
            timeout: seconds to wait for other writers.
        """
        op = self.recorder.begin(Kind.WRITE, self.name)
        is_committing = False
        try:
            with self.front.transaction(writable=True, request_id=op.id, timeout=timeout) as tx:
                op.base = tx.revision
                self._look(op, tx)
                for change in changes:
                    done = self.domain.perform(tx, change, note_bytes)
                    op.looks.append(Look(("may", *change), done, len(op.changes)))
                    if done:
                        op.changes.append(change)
                    self._look(op, tx)
                if gives_up == "rollback":
                    tx.rollback()
                elif gives_up == "error":
                    raise RefusedError
                is_committing = bool(op.changes) and gives_up is None
        except RefusedError:
            self.recorder.end(op, Outcome.UNDONE)
        except WriterBusyError as error:
            if timeout is None or op.base is not None:
                raise
            self.recorder.end(op, Outcome.FAILED, error)
        except BaseException as error:
            self._fail(op, error, Outcome.UNKNOWN if is_committing else Outcome.FAILED)
        else:
            if tx.receipt is None:
                self.recorder.end(op, Outcome.UNDONE)
                return
            op.revision = tx.receipt.revision
            self.receipts.append(tx.receipt)
            self.recorder.end(op, Outcome.COMMITTED)

    def read(self, looks: int = 2) -> None:
        """Run a read transaction."""
        follows = self.name.startswith("follower")
        op = self.recorder.begin(Kind.FOLLOW if follows else Kind.READ, self.name)
        self._read(op, self.front.transaction, looks)

    def hold(self) -> Held:
        """Begin a read transaction that several threads look into, at any time."""
        op = self.recorder.begin(Kind.READ, self.name)
        tx = self.front.transaction()
        self.recorder.show(op, tx.revision)
        return Held(op, tx)

    def look_into(self, held: Held, *queries: Query) -> None:
        """Look into a read transaction that another thread may have begun.

        Args:
            held: the transaction.
            queries: what to ask; something drawn unless given.
        """
        for query in queries or (self.domain.draw_query(self.random),):
            answer = self.domain.ask(held.transaction, query)
            held.operation.looks.append(Look(query, answer, 0))

    def let_go(self, held: Held) -> None:
        """End such a transaction."""
        held.transaction.rollback()
        self.recorder.end(held.operation, Outcome.SHOWN)

    def at(self, revision: int) -> None:
        """Look into the past."""
        op = self.recorder.begin(Kind.AT, self.name)
        op.asked = revision
        self._read(op, lambda: self.front.at(revision), 2)

    def batches(self) -> None:
        """Read all batches."""
        op = self.recorder.begin(Kind.BATCHES, self.name)
        try:
            for batch in self.store.batches():
                op.batches.append(self.domain.logged(batch))
        except BaseException as error:
            self._fail(op, error)
        else:
            self.recorder.show(op, op.batches[-1].revision if op.batches else 0)
            self.recorder.end(op, Outcome.SHOWN)

    def watch(self, from_revision: int | None, count: int, timeout: float) -> None:
        """Watch so many batches come by, or until none comes for a time."""
        op = self.recorder.begin(Kind.WATCH, self.name)
        op.asked = from_revision
        try:
            iterator = self.front.watch(from_revision, timeout=timeout)
        except BaseException as error:
            self._fail(op, error)
            return
        self.recorder.end(op, Outcome.SHOWN)
        for _ in range(count):
            watched = self.recorder.begin(Kind.WATCHED, self.name)
            watched.source = op.id
            try:
                batch = next(iterator, None)
            except BaseException as error:
                self._fail(watched, error)
                return
            if batch is None:
                self.recorder.end(watched, Outcome.FAILED)
                return
            watched.batches.append(self.domain.logged(batch))
            self.recorder.show(watched, batch.revision)
            self.recorder.end(watched, Outcome.SHOWN)

    def check_receipt(self) -> None:
        """Have the last receipt checked."""
        if not self.receipts:
            return
        receipt = self.receipts[-1]
        op = self.recorder.begin(Kind.RECEIPT, self.name)
        op.asked = receipt.revision
        try:
            batch = self.front.check_receipt(receipt)
        except ReceiptError as error:
            self.recorder.end(op, Outcome.REFUSED, error)
        except BaseException as error:
            self._fail(op, error)
        else:
            op.batches.append(self.domain.logged(batch))
            self.recorder.show(op, batch.revision)
            self.recorder.end(op, Outcome.SHOWN)

    def upkeep(self, work: Callable[[], object]) -> None:
        """Run a checkpoint or a compaction; it shows nothing."""
        try:
            work()
        except self.tolerated:
            return

    def _read(self, op: Operation, begin: Callable[[], Any], looks: int) -> None:
        try:
            with begin() as tx:
                self.recorder.show(op, tx.revision)
                for _ in range(looks):
                    self._look(op, tx)
        except BaseException as error:
            if op.kind is Kind.AT and isinstance(error, ValueError):
                self.recorder.end(op, Outcome.REFUSED, error)
            else:
                self._fail(op, error)
        else:
            self.recorder.end(op, Outcome.SHOWN)

    def _look(self, op: Operation, tx: Any) -> None:
        query = self.domain.draw_query(self.random)
        op.looks.append(Look(query, self.domain.ask(tx, query), len(op.changes)))

    def _fail(self, op: Operation, error: BaseException, outcome: Outcome = Outcome.FAILED) -> None:
        self.recorder.end(op, outcome, error)
        if not isinstance(error, self.tolerated):
            raise error
