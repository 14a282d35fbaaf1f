"""The story of snapshots: every change, by whom and why, and what differs between two revisions.

A snapshot is followed by its id, which outlives renames and tells apart those that had one name one
after the other. Everything is found by the index of the past (`SnapshotsProjection.keys`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from projections.snapshots import events
from projections.snapshots.model import Kind, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from eventstore import Batch, Event, EventStore, Metadata

    Fields = dict[str, Any]
    """What is known of a snapshot: name, kind, parent, labels, usage."""

_WHOLE = frozenset((events.CREATED, events.COMMITTED, events.IMPORTED))
"""The events that state all fields."""


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
        changes: what it changed, by the name of the field: `name`, `kind`, `parent`, `labels` and
            `usage`. A field whose value before is no longer kept is left out.
    """

    revision: int
    time: datetime
    metadata: Metadata
    id: str
    event: Event
    changes: Mapping[str, Change] = {}


class SnapshotDiff(NamedTuple):
    """What became of a snapshot between two revisions.

    Attributes:
        id: of the snapshot.
        before: its fields at the first revision, as in `HistoryEntry.changes`; None if it was not
            there. Those that are no longer kept are left out.
        after: its fields at the second one; None if it is not there.
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


def history(
    store: EventStore, ids: Iterable[int], first: int, last: int, *, reverse: bool
) -> Iterator[HistoryEntry]:
    """Yield every change of some snapshots, oldest or newest first, as it is asked for."""
    numbers = frozenset(ids)
    if not numbers:
        return
    known: dict[int, Fields | None] = {}
    found = store.history(
        *map(events.id_key, numbers), from_revision=first, to_revision=last, reverse=reverse
    )
    for batch in found:
        for place, event in _in_order(batch, reverse=reverse):
            number = events.id_in(event)
            if number not in numbers or number is None:
                continue
            if reverse or number not in known:
                before = _fields_before(store, number, batch, place, event, whole=not reverse)
            else:
                before = known[number]
            after = _after(before, event)
            if not reverse:
                known[number] = after
            yield _entry(batch, number, event, before, after)


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
                newest = next(history(store, (number,), 1, last, reverse=True), None)
                return newest if newest and newest.event.type == events.REMOVED else None
    return None


def diff(store: EventStore, first: int, last: int) -> Iterator[SnapshotDiff]:
    """Yield what became of each snapshot that was changed after one revision, up to another.

    In the order in which they were first changed. O(batches between).
    """
    entries: dict[int, list[HistoryEntry]] = {}
    before: dict[int, Fields | None] = {}
    now: dict[int, Fields | None] = {}
    for batch in store.batches(first + 1, last):
        for place, event in _in_order(batch, reverse=False):
            number = events.id_in(event)
            if number is None:
                continue
            if number not in now:
                is_new = event.type in (events.CREATED, events.IMPORTED)
                earlier = None if is_new else _all_fields_before(store, number, batch, place)
                before[number] = now[number] = earlier
            after = _after(now[number], event)
            entry = _entry(batch, number, event, now[number], after)
            entries.setdefault(number, []).append(entry)
            now[number] = after
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


def _entry(
    batch: Batch, number: int, event: Event, before: Fields | None, after: Fields | None
) -> HistoryEntry:
    return HistoryEntry(
        batch.revision, batch.time, batch.metadata, str(number), event, _changes(before, after)
    )


def _fields_before(
    store: EventStore, number: int, batch: Batch, place: int, event: Event, *, whole: bool
) -> Fields | None:
    """Return what a snapshot was before an event; unless `whole`, what the event may change."""
    if event.type in (events.CREATED, events.IMPORTED):
        return None
    if event.type == events.UPDATED and not whole:
        earlier = next(_events_before(store, number, batch, place), None)
        return {} if earlier is None else _after({}, earlier)
    return _all_fields_before(store, number, batch, place)


def _all_fields_before(store: EventStore, number: int, batch: Batch, place: int) -> Fields:
    """Return all that a snapshot was before an event, as far back as batches are kept."""
    newer: list[Event] = []
    for earlier in _events_before(store, number, batch, place):
        newer.append(earlier)
        if earlier.type in _WHOLE:
            break
    fields: Fields = {}
    for earlier in reversed(newer):
        fields = _after(fields, earlier) or {}
    return fields


def _events_before(store: EventStore, number: int, batch: Batch, place: int) -> Iterator[Event]:
    """Yield the events of a snapshot before one of them, newest first."""
    before = [event for event in batch.events[:place] if events.id_in(event) == number]
    yield from reversed(before)
    found = store.history(events.id_key(number), to_revision=batch.revision - 1, reverse=True)
    for earlier in found:
        for _, event in _in_order(earlier, reverse=True):
            if events.id_in(event) == number:
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
