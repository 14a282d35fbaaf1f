"""The keys that were changed since a checkpoint: what the next delta is made of.

They are what a reader that stands at the checkpoint finds in the undo maps on its way to a later
version. So nothing is done for them when a row is put; whoever keeps them walks the chain of
versions now and then, from the background, and holds none of the versions that it has passed.

There may be too many keys for a delta to be worth while, or to be kept in memory. From then on
nothing is kept, until the next base.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.checkpoints.reader import TableName
    from eventstore.tables.version import Version

DELTA_SHARE = 2
"""A delta holds at the most one in so many rows: all of a store that grows to twice its size."""
KEYS_MIN = 50_000
"""So many changed keys are kept however few rows there were."""
_SLICE_KEYS = 256
"""So many are taken in at once, and not counted before: for each batch that took twice as long."""


def _no_pause() -> None:
    pass


class ChangedKeys:
    """The keys of all tables that were changed since a version.

    Called by one thread at a time. If an interrupt ends a call, the next one goes on.

    Attributes:
        keys: of each table, by its name; perhaps with some more that have not changed.
        since: revision of the version.
        is_whole: whether they are all there; there were too many if not.
    """

    def __init__(self, start: Version, keys_max: int) -> None:
        """Begin at a version.

        Args:
            start: the version.
            keys_max: how many keys are kept at the most.
        """
        self.keys: dict[str, set[Any]] = {}
        self.since = start.revision
        self.is_whole = True
        self._keys_max = keys_max
        self._version: Version | None = start

    def advance(self, target: Version, pause: Callable[[], object] = _no_pause) -> None:
        """Take in the keys that were changed before a later version, which readers are shown.

        Args:
            target: the version.
            pause: called between slices of work.
        """
        version, taken = self._version, 0
        while version is not None and version.revision < target.revision:
            # The link first, the maps second: versions may be merged meanwhile (`thinning`).
            following = version.next
            if following is None:
                break
            for table, undo in version.undo.copy().items():
                keys = self.keys.get(table.name)
                if keys is None:
                    keys = self.keys[table.name] = set()
                taken += len(undo)
                if len(undo) <= _SLICE_KEYS:  # nearly always
                    keys.update(undo.copy())
                    continue
                rest = iter(undo.copy())
                while part := list(islice(rest, _SLICE_KEYS)):
                    keys.update(part)
                    pause()
            self._version = version = following
            if taken >= _SLICE_KEYS:
                taken = 0
                pause()
                if self._are_too_many():
                    return
        self._are_too_many()

    def _are_too_many(self) -> bool:
        """Keep none if there are too many; say whether that is so."""
        if sum(map(len, self.keys.values())) > self._keys_max:
            self.give_up()
        return not self.is_whole

    def give_up(self) -> None:
        """Keep nothing any more: the next checkpoint must be a base."""
        self.keys, self.is_whole, self._version = {}, False, None


def keys_max(row_count: int) -> int:
    """Return how many changed keys are worth to be kept, of a state with so many rows."""
    return max(row_count, KEYS_MIN)


class Standing(NamedTuple):
    """A checkpoint that a delta can continue.

    Attributes:
        revision: of the checkpoint.
        digest: chain digest at that revision.
        table_names: what its tables are.
        changed_count: how many rows the deltas of its chain hold.
        delta_count: how many deltas.
        changed: what was changed since.
    """

    revision: int
    digest: bytes
    table_names: tuple[TableName, ...]
    changed_count: int
    delta_count: int
    changed: ChangedKeys
