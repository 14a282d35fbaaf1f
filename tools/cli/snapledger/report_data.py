"""What a report shows, as plain columns: small enough for a page, whole enough to replay in it.

Texts stand once, in `strings`; sets of labels once, in `labels`, as indexes of strings, key and
value in turn. The columns of `events` are in the order of the log. `start` is the state before the
first batch that is shown: empty, unless the oldest batches are no longer kept.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from eventstore import CompactedError
from projections.snapshots import Kind, events
from snapledger.text import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventstore import Batch, Event
    from projections.snapshots import MetaStore

_NS_PER_MS = 1_000_000
OPERATIONS = (
    *("created active", "created view", "committed", "updated", "removed"),
    *("imported committed", "imported active", "imported view"),
)
"""What an event does, by the number that stands for it."""
_OF_A_BATCH = ("time", "actor", "reason")
_OF_AN_EVENT = ("batch", "op", "id", "name", "parent", "labels", "size")
_NUMBERS = {
    (events.CREATED, Kind.ACTIVE.value): 0,
    (events.CREATED, Kind.VIEW.value): 1,
    (events.IMPORTED, Kind.COMMITTED.value): 5,
    (events.IMPORTED, Kind.ACTIVE.value): 6,
    (events.IMPORTED, Kind.VIEW.value): 7,
}
_WITHOUT_KIND = {events.COMMITTED: 2, events.UPDATED: 3, events.REMOVED: 4}


class Collector:
    """Gathers batches into columns."""

    def __init__(self) -> None:
        self._strings: dict[str, int] = {"": 0}
        self._labels: dict[tuple[int, ...], int] = {(): 0}
        self._batches: dict[str, list[int]] = {name: [] for name in _OF_A_BATCH}
        self._events: dict[str, list[int]] = {name: [] for name in _OF_AN_EVENT}
        self._start: list[list[int]] = []

    def add_start(self, store: MetaStore, revision: int) -> None:
        """Take in the state that the batches continue."""
        with store.at(revision) as before:
            for snapshot_id, info, usage in before.walk():
                number = _NUMBERS[events.IMPORTED, info.kind.value]
                texts = [self._string(info.name), self._string(info.parent)]
                labels = self._label_set(info.labels)
                self._start.append([number, int(snapshot_id), *texts, labels, usage.size])

    def add(self, batch: Batch) -> None:
        """Take in a batch."""
        place = len(self._batches["time"])
        self._batches["time"].append(batch.time_ns // _NS_PER_MS)
        self._batches["actor"].append(self._string(batch.metadata.actor or ""))
        self._batches["reason"].append(self._string(batch.metadata.reason or ""))
        for event in batch.events:
            self._add_event(place, event)

    def _add_event(self, place: int, event: Event) -> None:
        number = events.id_in(event)
        if number is None:
            return
        data = event.data
        operation = _WITHOUT_KIND.get(event.type)
        if operation is None:
            operation = _NUMBERS.get((event.type, data.get("kind")))
        if operation is None:
            return
        name = data.get("name", data.get("key", ""))
        row = {
            "batch": place,
            "op": operation,
            "id": number,
            "name": self._string(name),
            "parent": self._string(data.get("parent", "")),
            "labels": self._label_set(data.get("labels", {})),
            "size": data.get("size", 0),
        }
        for column, value in row.items():
            self._events[column].append(value)

    def document(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return everything, with what is to be said about it."""
        return {
            **about,
            "operations": OPERATIONS,
            "strings": list(self._strings),
            "labels": list(self._labels),
            "start": self._start,
            "batches": self._batches,
            "events": self._events,
        }

    def _string(self, text: Any) -> int:
        return self._strings.setdefault(str(text), len(self._strings))

    def _label_set(self, labels: Mapping[str, str]) -> int:
        pairs = tuple(self._string(each) for pair in sorted(labels.items()) for each in pair)
        return self._labels.setdefault(pairs, len(self._labels))


def collected(store: MetaStore, on_batch: Callable[[int], object]) -> dict[str, Any]:
    """Return what a page about a store shows, up to now.

    Where the state before the oldest batch is no longer known, it begins with the first that is.
    """
    found = store.event_store
    with store.transaction() as now:
        newest = now.revision
    first = found.oldest_revision()
    collector = Collector()
    if first > 1:
        try:
            collector.add_start(store, first - 1)
        except CompactedError as error:
            first = error.oldest_revision + 1
            collector.add_start(store, error.oldest_revision)
    for count, batch in enumerate(found.batches(first, newest), 1):
        collector.add(batch)
        on_batch(count)
    return collector.document(
        {
            "path": store.path,
            "store_id": found.store_id.hex(),
            "first_revision": first,
            "revision": newest,
            "made": format_time(time.time_ns()),
        }
    )
