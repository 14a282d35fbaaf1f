"""What a batch can be looked up by: the keys that projections declare, its actor, its types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.engine_events import is_engine_event
from eventstore.errors import ProjectionError
from eventstore.format.index import term_hash
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
        self._store_id = store_id
        self._declaring = [
            projection for projection in projections if type(projection).keys is not Projection.keys
        ]
        self.declared = tuple(
            sorted((projection.name, projection.version) for projection in self._declaring)
        )
        # Actors and types: there are few, and each batch has them.
        self._remembered: dict[tuple[bytes, str], int] = {}

    def keys(self, batch: Batch) -> set[int]:
        """Return the hashes of the keys that a batch is about.

        Raises:
            ProjectionError: a projection can't say which.
        """
        found = set()
        events = [event for event in batch.events if not is_engine_event(event)]
        for projection in self._declaring:
            for event in events:
                try:
                    for key in projection.keys(upcast(event, projection.upcasters)):
                        found.add(term_hash(self._store_id, _KEY, key))
                except Exception as error:
                    raise ProjectionError(
                        f"projection {projection.name!r} can't tell the keys of revision "
                        f"{batch.revision}: {type(error).__name__}: {error}",
                        "Projection.keys must accept every event",
                    ) from error
        return found

    def traits(self, batch: Batch) -> set[int]:
        """Return the hashes of the actor and the types of a batch."""
        found = {self._remember(_TYPE, event.type) for event in batch.events}
        if batch.metadata.actor is not None:
            found.add(self._remember(_ACTOR, batch.metadata.actor))
        return found

    def wanted_keys(self, wanted: Wanted) -> list[int]:
        """Return the hashes of the keys that are asked for."""
        return [term_hash(self._store_id, _KEY, key) for key in wanted.keys or ()]

    def wanted_traits(self, wanted: Wanted) -> list[int]:
        """Return the hashes of the actor and the type that are asked for."""
        pairs = ((_ACTOR, wanted.actor), (_TYPE, wanted.event_type))
        return [self._remember(kind, text) for kind, text in pairs if text is not None]

    def covers(self, declared: Iterable[tuple[str, int]]) -> bool:
        """Say whether an index of other projections holds all that these would declare."""
        return set(self.declared) <= set(declared)

    def _remember(self, kind: bytes, text: str) -> int:
        hashed = self._remembered.get((kind, text))
        if hashed is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            hashed = self._remembered[kind, text] = term_hash(self._store_id, kind, text)
        return hashed
