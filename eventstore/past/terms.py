"""What a batch can be looked up by: the keys that projections declare, its actor, its types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.engine_events import is_engine_event
from eventstore.errors import ProjectionError
from eventstore.format.index import TermHasher
from eventstore.projection import Projection
from eventstore.upcasting import upcast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from eventstore.event import Batch
    from eventstore.log.interface import Wanted

_KEY, _ACTOR, _TYPE = b"k", b"a", b"t"
_REMEMBERED = 1024


class Terms:
    """Hashes the terms of batches and of questions, for one store and its projections.

    Attributes:
        declared: name and version of each projection that declares keys.
    """

    def __init__(self, store_id: bytes, projections: Sequence[Projection]) -> None:
        self._hashers = {kind: TermHasher(store_id, kind) for kind in (_KEY, _ACTOR, _TYPE)}
        self._declaring = [
            projection for projection in projections if type(projection).keys is not Projection.keys
        ]
        self.declared = tuple(
            sorted((projection.name, projection.version) for projection in self._declaring)
        )
        # Actors and types: there are few, and each batch has them; most have one of each.
        self._remembered: dict[tuple[bytes, str], int] = {}
        self._remembered_pairs: dict[tuple[str | None, str], frozenset[int]] = {}

    def keys(self, batch: Batch) -> set[int]:
        """Return the hashes of the keys that a batch is about.

        Raises:
            ProjectionError: a projection can't say which.
        """
        found: set[int] = set()
        hash_key = self._hashers[_KEY].hash
        events = [event for event in batch.events if not is_engine_event(event)]
        for projection in self._declaring:
            for event in events:
                try:
                    keys = projection.keys(upcast(event, projection.upcasters))
                    found.update(map(hash_key, keys))
                except Exception as error:
                    raise ProjectionError(
                        f"projection {projection.name!r} can't tell the keys of revision "
                        f"{batch.revision}: {type(error).__name__}: {error}",
                        "Projection.keys must accept every event",
                    ) from error
        return found

    def traits(self, batch: Batch) -> frozenset[int]:
        """Return the hashes of the actor and the types of a batch."""
        actor = batch.metadata.actor
        if len(batch.events) != 1:
            return self._traits(actor, {event.type for event in batch.events})
        event_type = batch.events[0].type
        found = self._remembered_pairs.get((actor, event_type))
        if found is None:
            if len(self._remembered_pairs) >= _REMEMBERED:
                self._remembered_pairs.clear()
            found = self._traits(actor, {event_type})
            self._remembered_pairs[actor, event_type] = found
        return found

    def wanted_keys(self, wanted: Wanted) -> list[int]:
        """Return the hashes of the keys that are asked for."""
        return [self._hashers[_KEY].hash(key) for key in wanted.keys or ()]

    def wanted_traits(self, wanted: Wanted) -> list[int]:
        """Return the hashes of the actor and the type that are asked for."""
        pairs = ((_ACTOR, wanted.actor), (_TYPE, wanted.event_type))
        return [self._remember(kind, text) for kind, text in pairs if text is not None]

    def covers(self, declared: Iterable[tuple[str, int]]) -> bool:
        """Say whether an index of other projections holds all that these would declare."""
        return set(self.declared) <= set(declared)

    def _traits(self, actor: str | None, types: set[str]) -> frozenset[int]:
        found = {self._remember(_TYPE, event_type) for event_type in types}
        if actor is not None:
            found.add(self._remember(_ACTOR, actor))
        return frozenset(found)

    def _remember(self, kind: bytes, text: str) -> int:
        hashed = self._remembered.get((kind, text))
        if hashed is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            hashed = self._remembered[kind, text] = self._hashers[kind].hash(text)
        return hashed
