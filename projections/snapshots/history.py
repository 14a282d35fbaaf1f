"""The history of a key: every change of the snapshots that ever had it, through their renames.

An event before a rename does not say the name that comes, so the log is read to its end to learn
which snapshots are meant, and again where these lived: from their first event to their last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import events
from projections.snapshots.validation import checked_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from eventstore import Batch, Event, EventStore, Metadata


class HistoryEntry(NamedTuple):
    """One change of a snapshot.

    Attributes:
        revision: of the batch.
        time: of the batch, UTC.
        metadata: who and why.
        id: of the snapshot.
        event: what happened; its types are in `projections.snapshots.events`.
    """

    revision: int
    time: datetime
    metadata: Metadata
    id: str
    event: Event


class Owners(NamedTuple):
    """The snapshots that ever had a key or name.

    Attributes:
        ids: of them.
        first_revision: of the first event of any of them.
        last_revision: of the last one.
    """

    ids: frozenset[int]
    first_revision: int
    last_revision: int


def owners_of(store: EventStore, key: str, last_revision: int) -> Owners:
    """Find the snapshots that had a key or name until a revision. O(batches), in one reading.

    Memory: two numbers for each snapshot that is there, or had the key.

    Raises:
        InvalidArgumentError: the key is no text.
    """
    checked_text(key, "key")
    ids: set[int] = set()
    lives: dict[int, tuple[int, int]] = {}
    for batch in store.batches(store.oldest_revision(), last_revision):
        for event in batch.events:
            number = events.id_in(event)
            if number is None:
                continue
            first, _ = lives.get(number, (batch.revision, 0))
            lives[number] = (first, batch.revision)
            if key in (event.data.get("key"), event.data.get("name")):
                ids.add(number)
            elif event.type == events.REMOVED and number not in ids:
                del lives[number]
    return Owners(
        frozenset(ids),
        min((lives[number][0] for number in ids), default=1),
        max((lives[number][1] for number in ids), default=0),
    )


def changes_of(
    store: EventStore, owners: Owners, first_revision: int, last_revision: int
) -> Iterator[tuple[Batch, tuple[Event, ...]]]:
    """Yield the batches with events about some snapshots, oldest first, each with these events."""
    first = max(first_revision, owners.first_revision)
    for batch in store.batches(first, min(last_revision, owners.last_revision)):
        about = tuple(event for event in batch.events if events.id_in(event) in owners.ids)
        if about:
            yield batch, about


def entries_of(store: EventStore, owners: Owners) -> Iterator[HistoryEntry]:
    """Yield every change of some snapshots, oldest first."""
    first = max(store.oldest_revision(), owners.first_revision)
    for batch, about in changes_of(store, owners, first, owners.last_revision):
        for event in about:
            yield HistoryEntry(
                batch.revision, batch.time, batch.metadata, str(events.id_in(event)), event
            )
