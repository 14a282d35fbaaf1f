"""The story of snapshots: every change, by whom and why, and what differs between two revisions.

A snapshot is followed by its id, which outlives renames and tells apart those that had one name one
after the other. Everything is found by the index of the past (`SnapshotsProjection.keys`).
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from projections.snapshots import events
from projections.snapshots.model import Kind, Usage
from projections.snapshots.projection import SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from eventstore import Batch, Event, EventStore, Metadata
    from projections.snapshots.projection import Row

    Fields = dict[str, Any]
    """What is known of a snapshot: name, kind, parent, labels, usage."""

_WHOLE = frozenset((events.CREATED, events.COMMITTED, events.IMPORTED))
"""The events that state all fields."""


_BATCHES_TO_COMMIT_MAX = 3
"""So many of the first batches of a snapshot are looked at for its commit."""
_WAITING_MAX = 64
"""So many entries wait, newest first, for what was before the first of them."""


class Change(NamedTuple):
    """What became of one field of a snapshot.

    Attributes:
        old: before; None where there was no snapshot, or no usage yet.
        new: after; None where the snapshot was removed.
    """

    old: Any
    new: Any


class HistoryEntry(NamedTuple):
    """One change of a snapshot.

    Attributes:
        revision: of the batch.
        time: of the batch, UTC.
        metadata: who and why.
        id: of the snapshot.
        event: what happened; its types are in `projections.snapshots.events`.
        time_ns: the time of the batch in nanoseconds since the epoch.
        changes: what it changed, by the name of the field: `name`, `kind`, `parent`, `labels` and
            `usage`. A field whose value before is no longer kept is left out, and of a removal all
            but name and labels.
        is_redacted: whether parts of the batch were erased, which then are asterisks.
    """

    revision: int
    time: datetime
    metadata: Metadata
    id: str
    event: Event
    time_ns: int
    changes: Mapping[str, Change]
    is_redacted: bool = False


class SnapshotDiff(NamedTuple):
    """What became of a snapshot between two revisions.

    Attributes:
        id: of the snapshot.
        before: its fields at the first revision, as in `HistoryEntry.changes`; None if it was not
            there. Those that are no longer kept are left out.
        after: its fields at the second one, as far as they are known from `before` and what
            happened; None if it is not there.
        entries: what happened, oldest first.
    """

    id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    entries: tuple[HistoryEntry, ...]

    @property
    def changes(self) -> Mapping[str, Change]:
        """What differs, by the name of the field."""
        return _changes(self.before, self.after)


class Step(NamedTuple):
    """An event of a snapshot, and where it stands.

    Attributes:
        batch: that it is in.
        place: in the batch.
        number: id of the snapshot.
        event: itself.
    """

    batch: Batch
    place: int
    number: int
    event: Event


class _Lasting(NamedTuple):
    """What does not change of a committed snapshot.

    Attributes:
        fields: of it; its labels, which do, are empty.
        since_ns: when it was committed.
    """

    fields: Fields
    since_ns: int


class _Waiting(NamedTuple):
    """A step, and the older events of its snapshot, newest first, that were met since."""

    step: Step
    older: list[Event]

    @property
    def is_told(self) -> bool:
        """Whether these events tell all that the step can have changed."""
        return _is_told(self.step.event, self.older)

    def entry(self, store: EventStore) -> HistoryEntry:
        """Return the step as an entry; what is not told yet is looked up."""
        if self.is_told:
            return _entry(self.step, _folded(self.step.event, self.older))
        return _entry(self.step, _fields_before(store, self.step))


def history(
    store: EventStore, ids: Iterable[int], first: int, last: int, *, reverse: bool
) -> Iterator[HistoryEntry]:
    """Yield every change of some snapshots, oldest or newest first, as it is asked for."""
    numbers = frozenset(ids)
    if not numbers:
        return
    batches = store.history(
        *map(events.id_key, numbers), from_revision=first, to_revision=last, reverse=reverse
    )
    steps = (
        Step(batch, place, number, event)
        for batch in batches
        for place, event in _in_order(batch, reverse=reverse)
        if (number := events.id_in(event)) in numbers and number is not None
    )
    yield from _backwards(store, steps) if reverse else _forwards(store, steps)


def _forwards(store: EventStore, steps: Iterator[Step]) -> Iterator[HistoryEntry]:
    known: dict[int, Fields | None] = {}
    for step in steps:
        before = known[step.number] if step.number in known else _fields_before(store, step)
        known[step.number] = _after(before, step.event)
        yield _entry(step, before)


def _backwards(store: EventStore, steps: Iterator[Step]) -> Iterator[HistoryEntry]:
    """Yield entries newest first: each waits for the older steps that tell what was before it."""
    waiting: deque[_Waiting] = deque()
    for step in steps:
        for each in waiting:
            if each.step.number == step.number and not each.is_told:
                each.older.append(step.event)
        waiting.append(_Waiting(step, []))
        while waiting and (waiting[0].is_told or len(waiting) > _WAITING_MAX):
            yield waiting.popleft().entry(store)
    for each in waiting:
        yield each.entry(store)


def ids_that_had(store: EventStore, key: str, last: int) -> set[int]:
    """Return the ids of all snapshots with a change that tells of a key; O(those changes)."""
    return {
        number
        for batch in store.history(key, to_revision=last)
        for event in batch.events
        if (number := _id_that_has(key, event)) is not None
    }


def removal(store: EventStore, key: str, last: int) -> HistoryEntry | None:
    """Return the removal of the snapshot that a key named last; None if that was not removed."""
    for batch in store.history(key, to_revision=last, reverse=True):
        for _, event in _in_order(batch, reverse=True):
            number = _id_that_has(key, event)
            if number is not None:
                oldest = store.oldest_revision()
                newest = next(history(store, (number,), oldest, last, reverse=True), None)
                return newest if newest and newest.event.type == events.REMOVED else None
    return None


def commit_of(store: EventStore, number: int, last: int) -> HistoryEntry | None:
    """Return the commit of a snapshot; None if the history that is kept has none."""
    entries = history(store, (number,), store.oldest_revision(), last, reverse=True)
    return next((each for each in entries if each.event.type == events.COMMITTED), None)


def diff(store: EventStore, first: int, last: int) -> Iterator[SnapshotDiff]:
    """Yield what became of each snapshot that was changed after one revision, up to another.

    In the order in which they were first changed. O(batches between).
    """
    entries: dict[int, list[HistoryEntry]] = {}
    before: dict[int, Fields | None] = {}
    now: dict[int, Fields | None] = {}
    is_complete = store.oldest_revision() <= 1
    for batch in store.batches(first + 1, last):
        for place, event in _in_order(batch, reverse=False):
            number = events.id_in(event)
            if number is None:
                continue
            step = Step(batch, place, number, event)
            if number not in now:
                lasting = _lasting(store, step, first) if is_complete else None
                before[number] = now[number] = _fields_before(
                    store, step, whole=True, lasting=lasting, last=first
                )
            entries.setdefault(number, []).append(_entry(step, now[number]))
            now[number] = _after(now[number], event)
    for number, found in entries.items():
        yield SnapshotDiff(str(number), before[number], now[number], tuple(found))


def _in_order(batch: Batch, *, reverse: bool) -> list[tuple[int, Event]]:
    numbered = list(enumerate(batch.events))
    return numbered[::-1] if reverse else numbered


def _id_that_has(key: str, event: Event) -> int | None:
    number = events.id_in(event)
    if number is None or key not in (event.data.get("key"), event.data.get("name")):
        return None
    return number


def _entry(step: Step, before: Fields | None) -> HistoryEntry:
    batch, event = step.batch, step.event
    changes = _changes(before, _after(before, event))
    if event.type == events.REMOVED:
        # Of the others only somebody who reads all of its story knows the last value.
        changes = {name: changes[name] for name in ("name", "labels") if name in changes}
    return HistoryEntry(
        batch.revision,
        batch.time,
        batch.metadata,
        str(step.number),
        event,
        batch.time_ns,
        changes,
        batch.is_redacted,
    )


def _is_told(event: Event, older: list[Event], *, whole: bool = False) -> bool:
    """Say whether the events before one tell what it can have changed; or all, if `whole`."""
    if event.type in (events.CREATED, events.IMPORTED):
        return True
    if not older:
        return False
    return older[-1].type in _WHOLE or not (whole or event.type == events.COMMITTED)


def _folded(event: Event, older: list[Event]) -> Fields | None:
    """Return what a snapshot was before an event, by the events before it, newest first."""
    if event.type in (events.CREATED, events.IMPORTED):
        return None
    fields = _told_of_before(event)
    for earlier in reversed(older):
        fields = _after(fields, earlier) or {}
    return fields


def _told_of_before(event: Event) -> Fields:
    """Return what an event itself tells of what was before it: all, where the rest was dropped."""
    named = {"name": event.data["key"]} if "key" in event.data else {}
    match event.type:
        case events.COMMITTED:
            return {"kind": Kind.ACTIVE, **named}
        case events.REMOVED:
            return named
        case _:
            return _stated(event.data, "name")


def _fields_before(
    store: EventStore,
    step: Step,
    *,
    whole: bool = False,
    lasting: _Lasting | None = None,
    last: int | None = None,
) -> Fields | None:
    """Look up what a snapshot was before a step; unless `whole`, what the step can have changed.

    Args:
        store: with its history.
        step: of the snapshot.
        whole: whether all of its fields are wanted.
        lasting: what is known of them.
        last: as of `_events_before`.
    """
    older: list[Event] = []
    if not _is_told(step.event, older, whole=whole):
        for event in _events_before(store, step, last):
            if lasting is not None and not older and _is_after(event, lasting):
                return {**lasting.fields, **_stated(event.data, "labels")}
            older.append(event)
            if _is_told(step.event, older, whole=whole):
                break
    return _folded(step.event, older)


def _lasting(store: EventStore, step: Step, last: int) -> _Lasting | None:
    """Return what a snapshot has been since its commit, if its labels change or it is removed.

    So that what it was before that is told by the last labels alone, not by all up to its commit.
    """
    match step.event.type:
        case events.UPDATED:
            return _lasting_now(store, step)
        case events.REMOVED:
            return _lasting_until(store, step.number, last)
        case _:
            return None


def _lasting_now(store: EventStore, step: Step) -> _Lasting | None:
    """Return what a snapshot that is still there has been since its commit, by its row."""
    name = step.event.data.get("name")
    if not isinstance(name, str):
        return None
    with store.transaction() as present:
        row: Row | None = present.get(SNAPSHOTS, name)
    if row is None or row[0] != str(step.number) or row[1].kind is not Kind.COMMITTED:
        return None
    _, info, usage = row
    fields = {"kind": info.kind, "name": name, "parent": info.parent, "labels": {}, "usage": usage}
    return _Lasting(fields, info.created_ns)


def _lasting_until(store: EventStore, number: int, last: int) -> _Lasting | None:
    """Return what a snapshot had been since its commit, if that is in one of its first batches.

    Most are committed right after they are created, and then relabelled any number of times.
    """
    batches = store.history(events.id_key(number), to_revision=last)
    for batch in islice(batches, _BATCHES_TO_COMMIT_MAX):
        for event in batch.events:
            if events.id_in(event) == number and event.type == events.COMMITTED:
                fields = {**(_after(None, event) or {}), "labels": {}}
                return _Lasting(fields, event.data.get("time_ns", 0))
    return None


def _is_after(event: Event, lasting: _Lasting) -> bool:
    """Say whether an event gave a snapshot new labels after its commit; never, if that is unsure.

    The times of one snapshot never go back.
    """
    data = event.data
    return (
        event.type == events.UPDATED
        and data.get("name") == lasting.fields.get("name")
        and "labels" in data
        and data.get("time_ns", 0) > lasting.since_ns
    )


def _events_before(store: EventStore, step: Step, last: int | None) -> Iterator[Event]:
    """Yield the events of a snapshot before one of them, newest first.

    Args:
        store: with its history.
        step: of the snapshot.
        last: the last revision before that of the step that can have some; None for the one before
            it. Who looks up many steps gives one revision, up to which the index of the past is
            brought once.
    """
    before = step.batch.events[: step.place]
    yield from (event for event in reversed(before) if events.id_in(event) == step.number)
    last = step.batch.revision - 1 if last is None else last
    found = store.history(events.id_key(step.number), to_revision=last, reverse=True)
    for earlier in found:
        for _, event in _in_order(earlier, reverse=True):
            if events.id_in(event) == step.number:
                yield event


def _after(before: Fields | None, event: Event) -> Fields | None:
    """Return what a snapshot is after an event; without what the event and `before` don't tell."""
    data = event.data
    match event.type:
        case events.REMOVED:
            return None
        case events.UPDATED:
            return {**(before or {}), **_stated(data, "name", "labels")}
        case events.COMMITTED:
            usage = Usage(data.get("inodes", 0), data.get("size", 0))
            stated = _stated(data, "name", "parent", "labels")
            return {"kind": Kind.COMMITTED, **stated, "usage": usage}
        case _:
            kind = Kind(data["kind"]) if "kind" in data else None
            usage = Usage(data.get("inodes", 0), data.get("size", 0))
            stated = _stated(data, "key", "name", "parent", "labels")
            stated.setdefault("name", stated.pop("key", None))
            return {"kind": kind, **stated, "usage": usage if kind is Kind.COMMITTED else None}


def _stated(data: Mapping[str, Any], *names: str) -> Fields:
    return {name: data[name] for name in names if name in data}


def _changes(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> Mapping[str, Change]:
    """Return what differs between two looks at a snapshot, of the fields that both know."""
    if before is None:
        return {name: Change(None, value) for name, value in (after or {}).items()}
    if after is None:
        return {name: Change(value, None) for name, value in before.items()}
    return {
        name: Change(before[name], value)
        for name, value in after.items()
        if name in before and before[name] != value
    }
