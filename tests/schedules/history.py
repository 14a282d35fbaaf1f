"""The history of a run: what each thread asked for and was told, and when.

Times are those of one counter, which only the thread that runs moves on: so they order everything
that was asked and answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any, NamedTuple

Change = tuple[Any, ...]
"""One change of the domain, such as ("set", "a", 3)."""

Query = tuple[Any, ...]
"""One question to a state, such as ("get", "a")."""


class Kind(Enum):
    """What was asked for."""

    WRITE = "write"
    READ = "read"
    FOLLOW = "follow"
    AT = "at"
    BATCHES = "batches"
    WATCH = "watch"
    WATCHED = "watched"
    RECEIPT = "receipt"


class Outcome(Enum):
    """What became of an operation.

    Of a write: COMMITTED with a receipt; UNDONE and seen to be so; UNKNOWN if the commit was on its
    way when an error came; FAILED if an error came before. Of everything else: SHOWN, REFUSED
    because the revision is not there, or FAILED.
    """

    OPEN = "open"
    COMMITTED = "committed"
    UNDONE = "undone"
    UNKNOWN = "unknown"
    SHOWN = "shown"
    REFUSED = "refused"
    FAILED = "failed"


class Look(NamedTuple):
    """A question, the answer, and how many of its own changes the transaction had made before."""

    query: Query
    answer: Any
    own_changes: int


class Logged(NamedTuple):
    """A batch, as it was read: its revision, who wrote it, and what it changes if that is known."""

    revision: int
    id: str | None
    changes: tuple[Change, ...] | None


@dataclass
class Operation:
    """One operation of one thread.

    Attributes:
        id: its own; a batch names it as its request id.
        begun, ended: when.
        shown_at: when the thread knew the revision.
        base: of a write: the revision it builds on.
        revision: of a write, that of its batch; else the newest that was shown.
        asked: the revision that was asked for, if one was.
        changes: of a write, so far.
        source: of a batch that was watched: the id of the watch.
        looks: into tables.
        batches: that were shown.
    """

    id: str
    kind: Kind
    thread: str
    begun: int
    ended: int | None = None
    shown_at: int | None = None
    outcome: Outcome = Outcome.OPEN
    base: int | None = None
    revision: int | None = None
    asked: int | None = None
    source: str | None = None
    changes: list[Change] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    batches: list[Logged] = field(default_factory=list)
    error: str | None = None


class Recorder:
    """Keeps the operations of a run in the order of their begin."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._clock = count(1)

    def now(self) -> int:
        """Return the time, and move it on."""
        return next(self._clock)

    def begin(self, kind: Kind, thread: str) -> Operation:
        """Note that a thread asks for something."""
        number = len(self.operations)
        operation = Operation(f"{kind.value}-{number}", kind, thread, self.now())
        self.operations.append(operation)
        return operation

    def show(self, operation: Operation, revision: int) -> None:
        """Note the revision that a thread is shown."""
        operation.revision = revision
        operation.shown_at = self.now()

    def end(
        self, operation: Operation, outcome: Outcome, error: BaseException | None = None
    ) -> None:
        """Note the answer."""
        operation.outcome = outcome
        operation.ended = self.now()
        operation.error = None if error is None else repr(error)

    def lines(self) -> list[str]:
        """Return the history as text, an operation a line."""
        return [
            f"{op.begun}..{op.ended} {op.thread}: {op.id} {op.outcome.value}"
            f" base={op.base} revision={op.revision}@{op.shown_at} asked={op.asked}"
            f" changes={op.changes} looks={[tuple(look) for look in op.looks]}"
            f" batches={[(b.revision, b.id) for b in op.batches]}"
            + (f" error={op.error}" if op.error else "")
            for op in self.operations
        ]
