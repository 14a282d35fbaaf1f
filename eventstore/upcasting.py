"""Upcasting: what an event of an older version is read as, without a byte of the log changing.

A projection states `upcasters`: for an event's type and version the function that makes the next
version's data of it. Each projection is given events as its own upcasters leave them, when they are
replayed and when they are emitted, so that both fold alike, whatever projections are beside it.
Whoever reads batches is shown events as the upcasters of all projections leave them, which must
agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from eventstore.arguments import excerpt
from eventstore.errors import ProjectionError
from eventstore.event import Batch, Event

if TYPE_CHECKING:
    from eventstore.projection import Projection

Upcaster = Callable[[Any], Any]
"""Data of one version → data of the next; pure, and it leaves what it is given as it is."""
Upcasters = Mapping[tuple[str, int], Upcaster]
"""By type and version of an event: the function that makes the next version's data of it."""


def upcast(event: Event, upcasters: Upcasters) -> Event:
    """Return an event in the newest version that upcasters lead to. O(versions between).

    Raises:
        Exception: what an upcaster raised.
    """
    upcaster = upcasters.get((event.type, event.version))
    while upcaster is not None:
        event = Event(event.type, upcaster(event.data), event.version + 1)
        upcaster = upcasters.get((event.type, event.version))
    return event


def upcast_batch(batch: Batch, upcasters: Upcasters) -> Batch:
    """Return a batch as its readers are shown it; its digest stays that of what is in the log.

    Raises:
        ProjectionError: an upcaster failed.
    """
    if not upcasters:
        return batch
    events = []
    for event in batch.events:
        try:
            events.append(upcast(event, upcasters))
        except Exception as error:  # a user's code, which may raise any: it is told of
            raise ProjectionError(
                f"revision {batch.revision}: the event {excerpt(event.type)} of version "
                f"{event.version} can't be read: {type(error).__name__}: {error}",
                "an upcaster must accept every event of its version that was ever emitted",
            ) from error
    return batch._replace(events=tuple(events))


def all_upcasters(projections: Iterable[Projection]) -> Upcasters:
    """Return the upcasters of all projections together.

    Raises:
        ProjectionError: two projections state different ones for the same events, or one of them
            is none.
    """
    together: dict[tuple[str, int], Upcaster] = {}
    for projection in projections:
        for place, upcaster in _checked(projection).items():
            if together.setdefault(place, upcaster) is not upcaster:
                raise ProjectionError(
                    f"projection {projection.name!r} reads event {excerpt(place[0])} of version "
                    f"{place[1]} in another way than one beside it",
                    "give both the same upcaster: whoever reads the history is shown one event",
                )
    return together


def _checked(projection: Projection) -> Upcasters:
    upcasters = projection.upcasters
    if not isinstance(upcasters, Mapping):
        raise ProjectionError(
            f"the upcasters of projection {projection.name!r} must be a dictionary, not "
            f"{excerpt(upcasters)}"
        )
    for place, upcaster in upcasters.items():
        is_place = isinstance(place, tuple) and tuple(map(type, place)) == (str, int)
        if not is_place or not callable(upcaster):
            raise ProjectionError(
                f"an upcaster of projection {projection.name!r} is none: {excerpt(place)}: "
                f"{excerpt(upcaster)}",
                "state (event type, version): a function from its data to that of the next version",
            )
    return upcasters
