"""Which batches a verb shows: the options for it, and the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click

from eventstore import CompactedError
from projections.snapshots import NotFoundError, events, intents, requests
from projections.snapshots.events import id_in, id_key
from snapledger import output
from snapledger.arguments import parsed_moment
from snapledger.times import FORMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from eventstore import Batch, Event, EventStore
    from projections.snapshots import MetaStore
    from snapledger.arguments import Moment

    Change = tuple[Batch, tuple[Event, ...]]
    """A batch, and those of its events that are to be shown."""

_DOMAIN = "snapshot"
_TYPES = (
    *(*events.FIELDS, *intents.FIELDS, *requests.FIELDS),
    *("batch.fields", "eventstore.dropped", "eventstore.erased", "eventstore.restored"),
)
"""Of the events that this release may find in a store, but for those of a driver's own."""

since_option: Callable[..., Any] = click.option(
    "--since",
    metavar="REVISION|TIME",
    callback=parsed_moment,
    help=f"None before this: {FORMS}. A time without a zone is local.",
)
until_option: Callable[..., Any] = click.option(
    "--until", metavar="REVISION|TIME", callback=parsed_moment, help="None after this."
)
actor_option: Callable[..., Any] = click.option(
    "--actor", metavar="NAME", help="Only what this actor did."
)
type_option: Callable[..., Any] = click.option(
    "--type",
    "event_type",
    metavar="TYPE",
    help="Only batches with an event of this type, such as removed (snapshot.removed), "
    "intent.begun or request.done.",
)


def full_type(event_type: str | None) -> str | None:
    """Return the type of an event whose domain may be left out."""
    if event_type is None or "." in event_type:
        return event_type
    return f"{_DOMAIN}.{event_type}"


class Selection(NamedTuple):
    """What is asked for.

    Attributes:
        ids: of the snapshots; None for everything.
        actor: of the batches.
        event_type: of an event of each batch.
    """

    ids: frozenset[int] | None
    actor: str | None
    event_type: str | None

    @property
    def is_everything(self) -> bool:
        """Whether no batch is left out."""
        return self == (None, None, None)

    @classmethod
    def of(
        cls, store: MetaStore, key: str | None, actor: str | None, event_type: str | None
    ) -> Selection:
        """Return a selection by what was written.

        Raises:
            NotFoundError: no snapshot ever had the key.
        """
        ids = None
        if key is not None:
            ids = frozenset(map(int, store.ids_of(key)))
            if not ids:
                raise NotFoundError(f"no snapshot has or had the key or name {key!r}")
        return cls(ids, actor, full_type(event_type))

    def mention_unknown(self, store: MetaStore) -> None:
        """Mention an actor or a type of which there is nothing, where nothing was found by it."""
        if self.actor is not None:
            oldest = max(store.event_store.oldest_revision(), 1)
            found = store.event_store.batches(oldest, actor=self.actor)
            if next(found, None) is None:
                output.note(f"{store.path}: no batch that is kept has the actor {self.actor!r}")
        if self.event_type is not None and self.event_type not in _TYPES:
            output.note(
                f"no event of type {self.event_type!r} is known here: there are "
                f"{', '.join(_TYPES)}; a driver may have others of its own"
            )

    def search(
        self, store: MetaStore, first: int, last: int | None, *, reverse: bool
    ) -> Iterator[Change]:
        """Yield what is asked for of a store's batches, by its index of the past."""
        events = store.event_store
        if self.ids is None:
            found = events.batches(
                first, last, actor=self.actor, type=self.event_type, reverse=reverse
            )
        else:
            keys = map(id_key, self.ids)
            found = events.history(*keys, from_revision=first, to_revision=last, reverse=reverse)
        return self.changes(found)

    def changes(self, batches: Iterable[Batch]) -> Iterator[Change]:
        """Yield those of some batches that are asked for, with the events to show."""
        for batch in batches:
            if self.actor not in (None, batch.metadata.actor):
                continue
            shown = batch.events
            if self.ids is not None:
                shown = tuple(event for event in shown if id_in(event) in self.ids)
                if not shown:
                    continue
            if self.event_type is None or any(event.type == self.event_type for event in shown):
                yield batch, shown


def first_revision(store: EventStore, since: Moment, oldest: int) -> int:
    """Return the first revision that is kept at or after a moment."""
    if since.revision is not None:
        return max(since.revision, 1)
    try:
        return store.revision_at((since.time_ns or 0) - 1) + 1
    except CompactedError:
        return oldest


def last_revision(store: EventStore, until: Moment) -> int:
    """Return the last revision at or before a moment."""
    if until.revision is not None:
        return until.revision
    try:
        return store.revision_at(until.time_ns or 0)
    except CompactedError:
        return 0
