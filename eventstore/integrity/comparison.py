"""The log folded as it is read, and compared with every checkpoint that the fold comes to.

It begins at the first batch, or, where the log does not reach back to that, at the oldest
checkpoint that the log continues; it ends where the log is damaged. Where a sound log ends, each
projection checks its tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.checkpoints.reader import TableName
from eventstore.format.codec import DecodeError, unpack_row
from eventstore.recovery.replay import decode_record, replay_record, stale_projections, start_state
from eventstore.reports import Damage
from eventstore.tables.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.event import Batch
    from eventstore.log.reader import Record
    from eventstore.projection import Projection
    from eventstore.tables.state import State
    from eventstore.tables.stored import StoredRows

DIFFERS = "differs from the replayed log"
"""What is said of a table that is whole, and not what the batches amount to."""
_ERROR_CHARACTERS_MAX = 200


class Comparison:
    """A fold of the log, to be compared with checkpoints.

    Attributes:
        compared_count: checkpoints that were compared, but for that which the fold began at:
            nothing says how that one came about.
        is_exact: whether every row that was compared so far was the same to the byte.
    """

    def __init__(self, projections: Sequence[Projection]) -> None:
        self._known = {
            TableName(projection.name, projection.version, spec.name)
            for projection in projections
            for spec in projection.tables
        }
        self._projections = projections
        # None before the fold begins, and once it has ended.
        self._state: State | None = None
        self._start = 0
        self.compared_count = 0
        self.is_exact = True

    @property
    def start(self) -> int | None:
        """The revision that the fold has begun at; None if it has not, or has ended."""
        return None if self._state is None else self._start

    def begin(
        self,
        first_revision: int,
        checkpoints: Mapping[int, Checkpoint],
        loaded: Callable[[int], Checkpoint],
    ) -> None:
        """Begin at the first batch, or at the oldest checkpoint that the log continues.

        Args:
            first_revision: that the log begins with.
            checkpoints: by revision, oldest first; without rows.
            loaded: returns that of a revision with its rows.
        """
        if first_revision == 1:
            self._state = start_state(self._projections, None)
            return
        for revision, checkpoint in checkpoints.items():
            is_continued = revision >= first_revision - 1
            if is_continued and not stale_projections(self._projections, checkpoint):
                self._state = start_state(self._projections, loaded(revision))
                self._start = checkpoint.revision
                return

    def fold(self, record: Record, batch: Batch | None) -> None:
        """Fold a batch into the state, or only read it.

        Args:
            record: that holds it.
            batch: itself; None where there is none in the record.

        Raises:
            CorruptionError: the payload of the record is damaged.
            ProjectionError: a projection can't fold it.
        """
        state = self._state
        if state is None or record.revision <= state.durable.revision:
            if batch is None:
                decode_record(record)
        else:
            replay_record(state, record, batch)

    def end(self) -> int | None:
        """End the fold, and return the revision that it has come to; None if it had ended."""
        state, self._state = self._state, None
        return None if state is None else state.durable.revision

    def is_at(self, digest: bytes) -> bool:
        """Say whether the fold has come to the batch with a digest."""
        return self._state is not None and self._state.durable.digest == digest

    def differences(self, checkpoint: Checkpoint, path: str) -> Iterator[Damage]:
        """Compare the tables with those of a checkpoint, if the fold is at its revision.

        Args:
            checkpoint: to compare with.
            path: of its file.
        """
        state = self._state
        if state is None or state.durable.revision != checkpoint.revision:
            return
        tables = [(name, rows) for name, rows in checkpoint.tables if name in self._known]
        for name, rows in tables:
            differing, is_exact = _differing_keys(state, name.table, rows)
            self.is_exact &= is_exact
            if differing:
                rows_text = "1 row" if len(differing) == 1 else f"{len(differing)} rows"
                reason = (
                    f"table {name.table!r} {DIFFERS} in "
                    f"{rows_text}, {min(differing, key=repr)!r} for one"
                )
                yield Damage(path, 0, 0, reason)
        if checkpoint.revision != self._start and (tables or not checkpoint.tables):
            self.compared_count += 1

    def unknown_projections(self, checkpoints: Mapping[int, Checkpoint]) -> tuple[str, ...]:
        """Return the names of projections with tables in a checkpoint that are not folded here."""
        held = {name for one in checkpoints.values() for name, _ in one.tables}
        return tuple(sorted({name.projection for name in held - self._known}))

    def projections_own(self, path: str) -> Iterator[Damage]:
        """Have each projection check its tables where the fold is.

        Args:
            path: of the store.
        """
        if self._state is None:
            return
        for name, error in self._state.broken_projections():
            reason = (
                f"projection {name!r} finds its tables wrong at revision "
                f"{self._state.durable.revision}: {_shown(error)}"
            )
            yield Damage(path, 0, 0, reason)


def _differing_keys(state: State, table_name: str, rows: StoredRows) -> tuple[list[object], bool]:
    """Return the keys whose rows differ, and whether all rows are the same to the byte."""
    table, view = state.tables[table_name], View(state.durable)
    held, replayed = rows.as_dict(), dict(view.raw_items(table))
    if set(map(type, replayed.values())) != {bytes}:  # of most tables they are kept packed
        replayed = {key: table.packed(key, value) for key, value in replayed.items()}
    if replayed == held:
        return [], True
    differing: list[object] = [
        key
        for key in replayed.keys() | held.keys()
        if key not in held or key not in replayed or not _is_same_row(held[key], replayed[key])
    ]
    return differing, False


def _is_same_row(held: bytes, replayed: bytes) -> bool:
    if held == replayed:  # also where a value is not equal to itself, as NaN
        return True
    try:
        return bool(unpack_row(held) == unpack_row(replayed))
    except (DecodeError, RecursionError):
        return False


def _shown(error: Exception) -> str:
    """Return what a user's code has raised, as a line of a report."""
    try:
        text = str(error)
    except Exception:  # it is as wrong as what has raised it
        text = "its text can't be had"
    if len(text) > _ERROR_CHARACTERS_MAX:
        text = text[:_ERROR_CHARACTERS_MAX] + "…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
