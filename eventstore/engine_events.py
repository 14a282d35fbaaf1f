"""The engine's own events: what it does to the history itself is in the history.

Their types begin with `eventstore.`, which nobody else may emit. They stand in the log as any
other, in batches of their own, with actor and reason: chained, proved, shown by `batches` and
`watch`. No projection is given them, so the state does not depend on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.event import Event, Metadata

if TYPE_CHECKING:
    from eventstore.options import Retention

ENGINE_PREFIX = "eventstore."
"""What the types of the engine's events begin with."""
DROPPED = "eventstore.dropped"
"""Retention drops batches; committed before the first of their files is removed."""
ERASED = "eventstore.erased"
"""Texts of earlier batches were erased; committed before the first of them is."""
ENGINE = "eventstore"
"""The actor where nobody has asked for it."""


def is_engine_event(event: Event) -> bool:
    """Say whether an event is the engine's own."""
    return event.type.startswith(ENGINE_PREFIX)


class Dropping(NamedTuple):
    """Batches that retention is about to drop.

    Attributes:
        first_revision: of the oldest.
        last_revision: of the newest.
        segment_count: how many segments hold them.
        size_bytes: what these take.
    """

    first_revision: int
    last_revision: int
    segment_count: int
    size_bytes: int

    def event(self, retention: Retention) -> Event:
        """Return the event that says so, and by which rule."""
        rule = {
            "age_seconds": retention.age_seconds,
            "size_bytes": retention.size_bytes,
            "revisions": retention.revisions,
            "archive": retention.archive,
        }
        given = {name: limit for name, limit in rule.items() if limit is not None}
        return Event(DROPPED, {**self._asdict(), "retention": given})

    def metadata(self, retention: Retention) -> Metadata:
        """Return who drops them, and why, in words."""
        return Metadata(ENGINE, f"retention: {_in_words(retention)}")


def _in_words(retention: Retention) -> str:
    if not retention.archive:
        return "keep nothing beyond what recovery needs"
    limits = {
        "{} seconds": retention.age_seconds,
        "{} bytes": retention.size_bytes,
        "{} revisions": retention.revisions,
    }
    given = [text.format(limit) for text, limit in limits.items() if limit is not None]
    return f"keep {' and '.join(given)}"
