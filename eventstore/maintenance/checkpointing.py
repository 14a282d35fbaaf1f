"""Writing the state down: when a checkpoint is due, whether as a base or as a delta, and that.

The default policy bounds what an open costs: a checkpoint is due once replaying the log behind the
newest one is estimated to take a second. The estimate is the length of that log, times what the
last open took for a byte of it, or a usual value where it replayed too little to tell.

A checkpoint is a delta if few rows have changed since the one before it (`checkpoints.changed`),
and if that has the same tables. It is a base where few rows are there at all, since a delta would
save less than its sync costs, and where a chain has become long: to load a delta costs an entry of
a dictionary a row. A compaction folds chains before that (`compaction`), which costs less.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from eventstore.checkpoints.changed import DELTA_SHARE, ChangedKeys, Standing, keys_max
from eventstore.checkpoints.checkpoint import CheckpointContent
from eventstore.checkpoints.reader import TableName
from eventstore.counters import seconds
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.tables.packed import ABSENT
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventstore.log.interface import Log
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection
    from eventstore.recovery.loading import LeftOut, Loaded
    from eventstore.tables.state import State
    from eventstore.tables.version import Version

    Rows = Callable[[], Iterable[tuple[Any, bytes]]]

BASE_ROWS = 1024
"""Up to so many rows, in all tables, every checkpoint is a base."""
CHAIN_DELTAS = 32
"""A chain has at the most so many deltas."""
CHAIN_SHARE = 1
"""Its deltas have at the most one in so many rows."""
CLOSE_SHARE = 4
"""A close writes a checkpoint if one in so many parts of what makes one due is to be replayed."""
CLOSE_ROWS = 200_000
"""A close writes a base of up to so many rows, about a second's work; a larger one only where that
takes no longer than what it spares the next open."""

_SECONDS_PER_BYTE = 1.2e-7
_SECONDS_PER_ROW = 7e-6
"""Of a base, sync included: 1,000,000 rows in 6 to 10 s."""
_ROWS_BETWEEN_TELLS = 1000
_MEASURED_BYTES_MIN = 1024 * 1024


class Checkpointer:
    """Writes the checkpoints of one handle; called by one thread at a time.

    Attributes:
        revision: of the newest checkpoint that holds the state of this handle; 0 if none does.
        left_out: names of projections in the store that were not given and are not retired.
    """

    def __init__(
        self,
        path: str,
        state: State,
        log: Log,
        projections: Sequence[Projection],
        options: StoreOptions,
        loaded: Loaded,
    ) -> None:
        """Begin with what an open has loaded.

        Args:
            path: of the store, for messages.
            state: to be written down.
            log: where to.
            projections: of the state.
            options: of the store.
            loaded: what the open has found.
        """
        self.seconds = seconds()
        self._path = path
        self._state = state
        self._log = log
        self._projections = projections
        self._options = options
        kept = [
            (table, rows)
            for table, rows in loaded.left_out.tables
            if table.projection not in options.retired_projections
        ]
        self.left_out = tuple(sorted({table.projection for table, _ in kept}))
        self._left_out: LeftOut = loaded.left_out
        self.revision = loaded.checkpointed_revision
        # Rows for the next checkpoint; none if the one that holds them is as good as it would be.
        self._carried = kept if self.revision != loaded.left_out.revision else []
        self._standing: Standing | None = loaded.standing
        # Whether the open rebuilt a projection that no checkpoint holds yet.
        self.is_rebuilt = bool(loaded.rebuilt)
        # May be negative: what was replayed at the open counts towards the next checkpoint.
        replayed_bytes = log.recovery.replayed_bytes
        self._written_bytes = log.appended_bytes - replayed_bytes
        self._seconds_per_byte = _SECONDS_PER_BYTE
        if replayed_bytes >= _MEASURED_BYTES_MIN:
            self._seconds_per_byte = loaded.replay_seconds / replayed_bytes

    def is_due(self) -> bool:
        """Say whether the policy asks for a checkpoint."""
        options = self._options
        batches = self._state.shown(self._log).revision - self.revision
        return batches > 0 and (
            self.is_rebuilt
            or batches >= options.checkpoint_after_batches
            or self._log.appended_bytes - self._written_bytes >= options.checkpoint_after_bytes
            or self._replay_seconds() >= options.checkpoint_after_seconds
        )

    def is_due_at_close(self) -> bool:
        """Say whether a close should write a checkpoint: there is much to replay, and it is short.

        What was never durable is not written down.
        """
        if self._log.failure is not None:
            return False
        if self._state.shown(self._log).revision == self.revision:
            return False
        if self._replay_seconds() * CLOSE_SHARE < self._options.checkpoint_after_seconds:
            return False
        if self._continued() is not None:
            return True
        row_count = self._row_count()
        return row_count <= CLOSE_ROWS or row_count * _SECONDS_PER_ROW <= self._replay_seconds()

    def take_in(self, pause: Callable[[], object]) -> None:
        """Take in what was changed since the last call, so that old versions can be freed."""
        if self._standing is not None:
            self._standing.changed.advance(self._state.shown(self._log), pause)

    def begin_anew(self) -> None:
        """Forget all checkpoints so far, which an erasure removes: the next one is a base.

        What was left out and is carried along does not come back in it: it is too old for that.
        """
        self.revision = 0
        self._standing = None

    def write(
        self,
        pause: Callable[[], object],
        on_row: Callable[[int, int], object] = lambda done, total: None,
    ) -> int:
        """Write a checkpoint of the durable state as a long read, and return its revision.

        Args:
            pause: called now and then, so that others get the processor.
            on_row: called now and then with how many rows are read, and about how many there are.

        Raises:
            ProjectionError: it would lose the tables of a projection that was not given.
        """
        version = self._state.shown(self._log)
        if version.revision == self.revision:
            return version.revision
        started = time.monotonic()
        self._require_nothing_left_behind(version.revision)
        written_bytes = self._log.appended_bytes
        if self._standing is not None:
            self._standing.changed.advance(version, pause)
        continued, changed = self._continued(), _ordered(self._standing)
        view = View(version)
        if continued is not None and changed is not None:
            rows = partial(self._changed_rows, view, changed)
        else:
            continued, rows = None, partial(self._told_rows, view, _Told(on_row, self._row_count()))
        tables: list[tuple[TableName, Rows]] = [
            (name, partial(rows, name.table)) for name in self._table_names()
        ]
        tables += [(table, stored.items) for table, stored in self._carried]
        content = CheckpointContent(
            self._log.store_id,
            version.revision,
            version.time_ns,
            version.digest,
            tuple(tables),
            None if continued is None else (continued.revision, continued.digest),
        )
        try:
            self._log.save_checkpoint(content, pause)
        except CorruptionError:
            # What it continues may be gone: a base depends on nothing.
            self._standing = None
            raise
        self._stand_at(version, content, continued)
        self.revision = version.revision
        self._written_bytes = written_bytes
        self.is_rebuilt = False
        self._carried = []
        self.seconds.add(time.monotonic() - started)
        return version.revision

    def _replay_seconds(self) -> float:
        """Estimate how long an open would replay."""
        return (self._log.appended_bytes - self._written_bytes) * self._seconds_per_byte

    def _continued(self) -> Standing | None:
        """Return the checkpoint that a delta would continue; None if a base should be written."""
        standing = self._standing
        if standing is None or standing.revision != self.revision or self._carried:
            return None
        changed = standing.changed
        changed_count = sum(map(len, changed.keys.values()))
        if not changed.is_whole or standing.table_names != self._table_names():
            return None
        row_count = self._row_count()
        if row_count <= BASE_ROWS or changed_count * DELTA_SHARE > row_count:
            return None
        in_chain = standing.changed_count + changed_count
        if standing.delta_count >= CHAIN_DELTAS or in_chain * CHAIN_SHARE > row_count:
            return None
        return standing

    def _stand_at(
        self, version: Version, content: CheckpointContent, continued: Standing | None
    ) -> None:
        in_chain = delta_count = 0
        if continued is not None:
            in_chain = continued.changed_count + sum(map(len, continued.changed.keys.values()))
            delta_count = continued.delta_count + 1
        self._standing = Standing(
            version.revision,
            version.digest,
            tuple(name for name, _ in content.tables),
            in_chain,
            delta_count,
            ChangedKeys(version, keys_max(self._row_count())),
        )

    def _table_names(self) -> tuple[TableName, ...]:
        return tuple(
            TableName(projection.name, projection.version, spec.name)
            for projection in self._projections
            for spec in projection.tables
        )

    def _row_count(self) -> int:
        return sum(table.row_count_about() for table in self._state.tables.values())

    def _require_nothing_left_behind(self, revision: int) -> None:
        """Refuse a checkpoint for which tables of projections that are not here are too old."""
        if not self.left_out or revision == self._left_out.revision:
            return
        names = ", ".join(map(repr, self.left_out))
        raise ProjectionError(
            f"{self._path}: a checkpoint would lose the tables of projection {names}, which the "
            "store was opened without: they are in the checkpoint at revision "
            f"{self._left_out.revision} and lack what was committed since",
            "open the store with it too, or, if it is needed no more, with "
            "StoreOptions(retired_projections=...)",
        )

    def _all_rows(self, view: View, name: str) -> Iterator[tuple[Any, bytes]]:
        table = self._state.tables[name]
        for key, value in view.raw_items(table):
            yield key, table.packed(key, value)

    def _told_rows(self, view: View, told: _Told, name: str) -> Iterator[tuple[Any, bytes]]:
        for row in self._all_rows(view, name):
            told.count()
            yield row

    def _changed_rows(
        self, view: View, changed: dict[str, list[Any]], name: str
    ) -> Iterator[tuple[Any, bytes]]:
        table = self._state.tables[name]
        for key in changed.get(name, ()):
            value = view.raw(table, key)
            yield key, b"" if value is ABSENT else table.packed(key, value)


class _Told:
    """Counts rows, and tells the count now and then."""

    def __init__(self, on_row: Callable[[int, int], object], total: int) -> None:
        self._on_row = on_row
        self._total = total
        self._done = 0

    def count(self) -> None:
        """Count one more."""
        self._done += 1
        if self._done % _ROWS_BETWEEN_TELLS == 0:
            self._on_row(self._done, self._total)


def _ordered(standing: Standing | None) -> dict[str, list[Any]] | None:
    """Return the changed keys in order; None where a table had keys of two types meanwhile."""
    if standing is None:
        return None
    try:
        return {name: sorted(keys) for name, keys in standing.changed.keys.items()}
    except TypeError:
        return None
