"""Judges a history by the guarantees; knows nothing of the engine.

Given are the operations of all threads, the log as it was read at the end (or after a crash), and
a sequential model of the domain. The log orders the committed write transactions; so strict
serializability needs no search:

- *The log is right*: revisions are dense; each batch is that of one write, and holds its changes;
  every acknowledged write is there at its revision, none that was undone is.
- *Every state shown is one of the log's*: a transaction's looks, in whatever order and by whatever
  way, all fit the model's state at the one revision that it names; in a write transaction with
  its own changes so far on top.
- *Writes build on the newest*: a committed write's base is the revision before its own.
- *Real time*: whatever revision anybody has been shown, by a commit, a read, a watch, a batch, a
  past state, a receipt, or in a write transaction that has ended, is the least that whoever begins
  later is shown, or may ask for. That implies the session guarantees: a thread reads its own
  writes, and never goes back.
- *Nothing shown is lost*: its revision is in the log; and what was shown had been asked for before.

A follower is another handle, maybe in another process: it must show what is acknowledged, and
never go back itself; the store's own handle need not have caught up with it.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Protocol

from schedules.history import Kind, Look, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schedules.history import Change, Logged, Query

_VOUCHED = (Outcome.COMMITTED, Outcome.UNDONE, Outcome.SHOWN)


class Model(Protocol):
    """A sequential specification of the domain; states are values that do not change."""

    def initial(self) -> Any:
        """Return the state before the first batch."""

    def after(self, state: Any, change: Change) -> Any:
        """Return the state after a change."""

    def answer(self, state: Any, query: Query) -> Any:
        """Return what a question to a state must be answered."""


class Floor:
    """The newest revision that anybody has been shown by a time."""

    def __init__(self, shown: Iterable[tuple[int, int]]) -> None:
        self._times: list[int] = []
        self._revisions: list[int] = []
        newest = 0
        for time, revision in sorted(shown):
            newest = max(newest, revision)
            self._times.append(time)
            self._revisions.append(newest)

    def before(self, time: int) -> int:
        """Return it for what was shown before a time."""
        index = bisect_left(self._times, time)
        return self._revisions[index - 1] if index else 0


class Checker:
    """One judgement; `violations` says what is wrong, in words."""

    def __init__(
        self, operations: Sequence[Operation], log: Sequence[Logged], model: Model
    ) -> None:
        self._operations = operations
        self._log = log
        self._model = model
        self._writes = {op.id: op for op in operations if op.kind is Kind.WRITE}
        self._states = [model.initial()]
        self._floor = Floor(self._shown(follows=False))
        self._followed = Floor(self._shown(follows=True))
        self.violations: list[str] = []

    @property
    def last_state(self) -> Any:
        """The model's state after the whole log."""
        return self._states[-1]

    def check(self) -> list[str]:
        """Return all violations."""
        self._check_log()
        if not self.violations:
            for operation in self._operations:
                self._check_operation(operation)
        return self.violations

    def _shown(self, *, follows: bool) -> Iterable[tuple[int, int]]:
        for op in self._operations:
            if op.kind is Kind.WRITE:
                # Inside a write transaction a batch may be seen that is not durable yet.
                revision = op.revision if op.outcome is Outcome.COMMITTED else op.base
                counts = op.outcome in ((Outcome.COMMITTED,) if follows else _VOUCHED)
                if counts and op.ended is not None and revision is not None:
                    yield op.ended, revision
            elif op.shown_at is None or op.revision is None:
                continue
            elif follows == (op.kind is Kind.FOLLOW):
                yield op.shown_at, op.revision

    def _check_log(self) -> None:
        seen: set[str] = set()
        for revision, batch in enumerate(self._log, 1):
            if batch.revision != revision:
                self._add(f"the log has revision {batch.revision} in the place of {revision}")
                return
            write = self._writes.get(batch.id or "")
            if write is None or write.id in seen:
                self._add(f"revision {revision} is of no write, or of one that is there: {batch}")
                return
            seen.add(write.id)
            self._check_batch(batch, write)
            state = self._states[-1]
            for change in write.changes:
                state = self._model.after(state, change)
            self._states.append(state)
        for write in self._writes.values():
            if write.outcome is Outcome.COMMITTED and write.id not in seen:
                self._add(f"an acknowledged write is lost: {write}")

    def _check_batch(self, batch: Logged, write: Operation) -> None:
        if batch.changes is not None and batch.changes != tuple(write.changes):
            self._add(f"{batch} does not hold what was written: {write}")
        if write.outcome in (Outcome.UNDONE, Outcome.FAILED):
            self._add(f"revision {batch.revision} is of a write that was undone: {write}")
        if write.outcome is Outcome.COMMITTED and write.revision != batch.revision:
            self._add(f"revision {batch.revision} was acknowledged as another: {write}")
        if write.base is not None and write.base != batch.revision - 1:
            self._add(f"revision {batch.revision} does not build on the one before: {write}")

    def _check_operation(self, op: Operation) -> None:
        floor = self._followed if op.kind is Kind.FOLLOW else self._floor
        least = floor.before(op.begun)
        match op.kind:
            case Kind.WRITE:
                shown = op.base
            case Kind.READ | Kind.FOLLOW:
                shown = op.revision
            case Kind.BATCHES:
                shown = op.revision if op.outcome is Outcome.SHOWN else None
                least = least if op.asked is None else min(least, op.asked)
                self._check_dense(op)
            case _:
                shown = None
        if shown is not None and shown < least:
            self._add(f"revision {least} had been shown before {op.begun}, then {shown}: {op}")
        if op.outcome is Outcome.REFUSED and op.asked is not None and op.asked <= least:
            self._add(f"revision {least} had been shown, then {op.asked} was refused: {op}")
        for revision in (op.base if op.kind is Kind.WRITE else None, op.revision):
            if revision is not None:
                self._check_known(op, revision)
        if op.kind is Kind.WATCH:
            self._check_watch(op, least)
        if op.kind in (Kind.AT, Kind.RECEIPT) and op.revision not in (None, op.asked):
            self._add(f"revision {op.asked} was asked for, {op.revision} was shown: {op}")
        for batch in op.batches:
            if batch.revision > len(self._log):
                self._add(f"a batch was shown that the log does not have: {op}")
            elif batch != self._log[batch.revision - 1]:
                self._add(f"a batch was shown that is another in the log: {op}")

    def _check_known(self, op: Operation, revision: int) -> None:
        if revision >= len(self._states):
            # What only a write transaction has seen may be lost while that has not ended well.
            if op.kind is not Kind.WRITE or op.outcome in _VOUCHED:
                self._add(f"revision {revision} was shown, but the log ends before: {op}")
            return
        if revision:
            write = self._writes[self._log[revision - 1].id or ""]
            if op.shown_at is not None and write.begun > op.shown_at:
                self._add(f"revision {revision} was shown before it was written: {op}")
        if op.kind is Kind.WRITE and revision != op.base:
            return
        state = self._states[revision]
        for look in op.looks:
            self._check_look(op, state, look)

    def _check_look(self, op: Operation, state: Any, look: Look) -> None:
        for change in op.changes[: look.own_changes]:
            state = self._model.after(state, change)
        wanted = self._model.answer(state, look.query)
        if wanted != look.answer:
            self._add(f"{look.query} must be {wanted!r}, was {look.answer!r}: {op}")

    def _check_dense(self, op: Operation) -> None:
        revisions = [batch.revision for batch in op.batches]
        if revisions != list(range(1, len(revisions) + 1)):
            self._add(f"batches were left out: {revisions}: {op}")

    def _check_watch(self, op: Operation, least: int) -> None:
        revisions = [
            watched.revision
            for watched in self._operations
            if watched.source == op.id and watched.revision is not None
        ]
        if not revisions:
            return
        first = revisions[0]
        if revisions != list(range(first or 0, (first or 0) + len(revisions))):
            self._add(f"a watch has left batches out: {revisions}: {op}")
        if op.asked is not None:
            if first != op.asked:
                self._add(f"a watch from {op.asked} began with {first}: {op}")
            return
        if first is not None and first <= least:
            self._add(f"a watch of what comes began with {first}, shown before: {op}")
        later = [
            write.revision
            for write in self._writes.values()
            if write.outcome is Outcome.COMMITTED and op.ended and write.begun > op.ended
            if write.revision is not None
        ]
        if later and first is not None and first > min(later):
            self._add(f"a watch of what comes began with {first}, after {min(later)}: {op}")

    def _add(self, text: str) -> None:
        if text not in self.violations:
            self.violations.append(text)


def until(operations: Sequence[Operation], time: int) -> list[Operation]:
    """Return the operations as they were at a time: what had not ended is open."""
    cut = []
    for op in operations:
        if op.begun > time:
            continue
        if op.ended is not None and op.ended < time:
            cut.append(op)
        elif op.kind is Kind.WRITE:
            cut.append(Operation(op.id, op.kind, op.thread, op.begun, changes=op.changes))
        elif op.shown_at is not None and op.shown_at < time:
            shown = Operation(op.id, op.kind, op.thread, op.begun, shown_at=op.shown_at)
            shown.revision, shown.asked = op.revision, op.asked
            cut.append(shown)
    return cut
