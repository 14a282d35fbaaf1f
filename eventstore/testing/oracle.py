"""The oracle: judges what an open has recovered against what must be there.

Both halves: what is there is a prefix of what was issued, and it holds everything that was
promised. Then the tables must be what a fold of the recovered batches gives, and `check` of all
tables and projections must pass.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore.format.codec import decode_batch
from eventstore.recovery.replay import start_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from eventstore.event import Event
    from eventstore.projection import Projection
    from eventstore.testing.notes import Expectation
    from eventstore.testing.session import NotedStore

Tables = dict[str, dict[Any, Any]]
"""All tables of a store by name, as plain dictionaries."""


NOT_A_FOLD = (
    "apply depends on something besides the event and its tables, such as a clock, a random "
    "number, a file, a global variable or state of the projection's own; or encode and decode lose "
    "a part of the value"
)


class Defect(enum.Enum):
    """What is wrong after a crash."""

    REFUSED = "the store does not open"
    LOST = "an acknowledged batch is lost"
    PHANTOM = "there is a batch that was never issued"
    WRONG_STATE = "the tables are not the fold of the batches"
    UNSOUND = "an invariant does not hold"
    STUCK = "the recovered store can't be used"


class Finding(NamedTuple):
    """One thing that is wrong."""

    defect: Defect
    message: str


class Recovered(NamedTuple):
    """What an open has recovered: the kept batches, each with revision, digest and payload."""

    revision: int
    batches: tuple[tuple[int, bytes, bytes], ...]


def recovered(store: NotedStore) -> Recovered:
    """Read everything that a store has recovered."""
    batches = tuple(
        (record.revision, record.digest, bytes(record.payload)) for record in store.raw_records()
    )
    with store.transaction() as reader:
        return Recovered(reader.revision, batches)


def judge(found: Recovered, expected: Expectation, *, may_drop: bool) -> Iterator[Finding]:
    """Yield what is wrong with the batches that were recovered.

    Args:
        found: these batches.
        expected: what must be there.
        may_drop: whether retention may have dropped the oldest ones.
    """
    if found.revision < expected.revision:
        yield Finding(
            Defect.LOST,
            f"revision {expected.revision} was acknowledged, {found.revision} is the last one left",
        )
    oldest = found.batches[0][0] if found.batches else found.revision + 1
    if oldest > 1 and not may_drop:
        yield Finding(Defect.LOST, f"all batches before {oldest} are missing")
    if [batch[0] for batch in found.batches] != list(range(oldest, found.revision + 1)):
        yield Finding(Defect.LOST, f"batches are missing between {oldest} and {found.revision}")
    for revision, digest, payload in found.batches:
        promised = expected.digests.get(revision)
        if promised is not None and promised != digest:
            yield Finding(Defect.LOST, f"revision {revision} is not the one that was acknowledged")
        if payload not in expected.candidates.get(revision, ()):
            yield Finding(Defect.PHANTOM, f"revision {revision} was never issued like this")


def tables_of(store: NotedStore, projections: Sequence[Projection]) -> Tables:
    """Return all tables as a reader sees them."""
    with store.transaction() as reader:
        return {
            spec.name: dict(reader.items(spec.name))
            for projection in projections
            for spec in projection.tables
        }


def folded(projections: Sequence[Projection], events: Iterable[Event]) -> Tables:
    """Return the tables that events lead to."""
    state = start_state(projections, None)
    state.begin(is_replaying=True)
    for event in events:
        state.apply(event)
    return {name: dict(table.items()) for name, table in state.tables.items()}


def difference(found: Tables, expected: Tables) -> str | None:
    """Return the first row in which a store's tables and those of a fold differ, in words."""
    if found == expected:  # nearly always, and quicker than row by row
        return None
    for name, rows in expected.items():
        for key in sorted({*rows, *found[name]}):
            at = f"table {name!r}, row {key!r}"
            if key not in found[name]:
                return f"{at}: missing in the store, the fold gives {rows[key]!r}: {NOT_A_FOLD}"
            if key not in rows:
                return f"{at}: {found[name][key]!r} in the store, not in the fold: {NOT_A_FOLD}"
            mine, theirs = found[name][key], rows[key]
            if mine != theirs and not (mine != mine and repr(mine) == repr(theirs)):  # noqa: PLR0124 - a NaN
                return f"{at}: {mine!r} in the store, {theirs!r} in the fold: {NOT_A_FOLD}"
    return None


class Fold:
    """Gives the tables that a list of batches must lead to, from the first batch on."""

    def __init__(self, projections: Sequence[Projection]) -> None:
        self._projections = projections
        self._known: dict[bytes, Tables] = {}

    def tables(self, found: Recovered, expected: Expectation) -> Tables | None:
        """Return the tables after the last batch; None if the first ones are not known for sure."""
        if not found.batches:
            return self._folded([]) if not found.revision else None
        digest = found.batches[-1][1]
        if digest not in self._known:
            payloads: list[bytes] = []
            for revision in range(1, found.batches[0][0]):
                candidates = set(expected.candidates.get(revision, ()))
                if len(candidates) != 1:
                    return None
                payloads += candidates
            payloads += [payload for _, _, payload in found.batches]
            self._known[digest] = self._folded(payloads)
        return self._known[digest]

    def _folded(self, payloads: list[bytes]) -> Tables:
        events = (event for payload in payloads for event in decode_batch(payload)[1])
        return folded(self._projections, events)
