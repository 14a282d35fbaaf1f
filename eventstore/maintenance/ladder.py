"""The ladder: which past states stay, so that the past is near. Pure.

A past state is loaded from the newest state at or before it that is there, and the batches from
there on are replayed. So states are left as *rungs* (`checkpoints.rungs`), at first one for each
checkpoint that was superseded. All together take no more than a share of what archive and log
take. Where they would take more, the one goes whose loss leaves the smallest *gap*: from the rung
below to the one above. So gaps keep to about one size over the whole past, however long it becomes:
none is more than four times as large as if as many rungs were evenly spread, or as checkpoints are
apart.

Retention rules it: a rung whose following batches are gone is of no use, and goes too, unless a
later one is packed against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

LINKS_MAX = 32
"""So many rungs are packed one against the other; then comes a root, packed against nothing."""
LINKS_MIN = 8
"""After so many comes one if it is small beside them: a state is read rung by rung, and each takes
as long as the state is large."""
_ROOT_SHARE_OF_CHAIN = 2
"""It is small if it takes one in so many parts of what the rungs after the last root take."""
_FILE_BYTES_MIN = 16 * 1024
"""No file counts as less, so that small ones do not become too many."""
_FEW = 3


class Rung(NamedTuple):
    """A rung of the ladder.

    Attributes:
        revision: of the state that it holds.
        size_bytes: of its file.
        is_root: whether it is packed against nothing.
    """

    revision: int
    size_bytes: int
    is_root: bool


def bytes_of(rungs: Sequence[Rung]) -> int:
    """Return what rungs count against their share."""
    return sum(max(rung.size_bytes, _FILE_BYTES_MIN) for rung in rungs)


def useless_count(rungs: Sequence[Rung], first_revision: int) -> int:
    """Return how many of the oldest rungs are of no use.

    Args:
        rungs: oldest first.
        first_revision: of the oldest batch that is kept.
    """
    count = 0
    for number, rung in enumerate(rungs):
        if rung.is_root:
            count = number
        if rung.revision >= first_revision - 1:
            return count
    return len(rungs)


def needs_root(rungs: Sequence[Rung]) -> bool:
    """Say whether the next rung should be a root: there is none, or the chain has become long."""
    roots = [place for place, rung in enumerate(rungs) if rung.is_root]
    if not roots:
        return True
    root, *links = rungs[roots[-1] :]
    if len(links) < LINKS_MIN - 1:
        return False
    links_bytes = sum(rung.size_bytes for rung in links)
    return len(links) >= LINKS_MAX - 1 or root.size_bytes * _ROOT_SHARE_OF_CHAIN <= links_bytes


def is_worth(rungs: Sequence[Rung], added: Rung, state_bytes: int, bytes_max: int) -> bool:
    """Say whether a newer rung is worth to be made: it would not be the next one to go.

    Args:
        rungs: oldest first.
        added: the newer one, of about that size.
        state_bytes: about how much a root of its state would take: however few rungs there are,
            they hold all of the last one's state.
        bytes_max: how much all may take.
    """
    if max(state_bytes, bytes_of([added])) > bytes_max:
        return False
    if bytes_of([*rungs, added]) <= bytes_max or len(rungs) < _FEW:
        return True
    revisions = [rung.revision for rung in rungs]
    gaps = [above - below for below, above in zip(revisions, revisions[2:], strict=False)]
    return 2 * (added.revision - revisions[-1]) >= min(gaps)


def next_to_go(
    rungs: Sequence[Rung], first_revision: int, end_revision: int, bytes_max: int
) -> int | None:
    """Return the place of the rung that goes next; None if all may stay.

    Args:
        rungs: oldest first.
        first_revision: of the oldest batch that is kept.
        end_revision: of the oldest state that stays in any case.
        bytes_max: how much all may take.
    """
    if bytes_of(rungs) <= bytes_max:
        return None
    places = [first_revision - 1, *(rung.revision for rung in rungs), end_revision]
    gaps = [above - below for below, above in zip(places, places[2:], strict=False)]
    return min(range(len(rungs)), key=lambda place: (gaps[place], -rungs[place].size_bytes))
