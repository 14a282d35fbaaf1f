"""Replay: from a checkpoint, or from nothing, record by record to a state.

The one fold behind every state: an open, a follower, a past state and a verification differ in
where the records come from and in what they do about errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.codec import DecodeError, decode_batch
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.event import Batch
from eventstore.state import Node, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.checkpoint import Checkpoint
    from eventstore.log.reader import Record
    from eventstore.packed import PackedRows
    from eventstore.projection import Projection

_NOT_OF_PROJECTIONS = (CorruptionError, MemoryError)


def start_state(projections: Sequence[Projection], checkpoint: Checkpoint | None) -> State:
    """Return the state at a checkpoint, or the empty one; stale tables start empty."""
    if checkpoint is None:
        return State(projections, Node(0, b"", 0))
    start = Node(checkpoint.revision, checkpoint.digest, checkpoint.time_ns)
    return State(projections, start, _fitting_rows(projections, checkpoint))


def stale_projections(
    projections: Sequence[Projection], checkpoint: Checkpoint | None
) -> list[Projection]:
    """Return the projections that a checkpoint does not hold in their version and tables."""
    if checkpoint is None:
        return []
    held: dict[tuple[str, int], set[str]] = {}
    for table, _ in checkpoint.tables:
        held.setdefault((table.projection, table.projection_version), set()).add(table.table)
    return [
        projection
        for projection in projections
        if held.get((projection.name, projection.version), set())
        != {spec.name for spec in projection.tables}
    ]


def replay_record(state: State, record: Record) -> None:
    """Fold a batch into the state as its next version.

    Raises:
        CorruptionError: the payload is no batch.
        ProjectionError: a projection can't apply what it once emitted.
    """
    batch = decode_record(record)
    state.begin(is_replaying=True)
    try:
        for event in batch.events:
            state.apply(event)
    except BaseException as error:
        state.rollback()
        if not isinstance(error, Exception) or isinstance(error, _NOT_OF_PROJECTIONS):
            raise
        raise ProjectionError(
            f"revision {batch.revision} can't be replayed: {type(error).__name__}: {error}; "
            "Projection.apply must accept every event it has ever accepted"
        ) from error
    state.publish(state.commit(batch.revision, batch.digest, batch.time_ns))


def decode_record(record: Record) -> Batch:
    """Return the batch in a verified record.

    Raises:
        CorruptionError: the payload is no batch, although its checksum and digest hold.
    """
    try:
        metadata, events = decode_batch(record.payload)
    except DecodeError as error:
        raise CorruptionError(
            record.path, record.offset_bytes, f"revision {record.revision} is no batch: {error}"
        ) from error
    return Batch(record.revision, record.time_ns, metadata, events, record.digest)


def _fitting_rows(
    projections: Sequence[Projection], checkpoint: Checkpoint
) -> dict[str, PackedRows]:
    """Return the rows in a checkpoint of the projections that it holds in their version."""
    stale = {projection.name for projection in stale_projections(projections, checkpoint)}
    return {table.table: rows for table, rows in checkpoint.tables if table.projection not in stale}
