"""Replay: from a checkpoint, or from nothing, record by record to a state.

The one fold behind every state: an open, a follower, a past state and a verification differ in
where the records come from and in what they do about errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eventstore.arguments import excerpt
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.event import Batch
from eventstore.format.codec import DecodeError, decode_batch
from eventstore.tables.state import State
from eventstore.tables.version import Version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.event import Event, Metadata
    from eventstore.log.reader import Record
    from eventstore.projection import Projection
    from eventstore.tables.stored import StoredRows

_EXHAUSTED = (MemoryError, RecursionError)
"""What the interpreter raises where it has no room left, whatever code is running then."""


class PackedRecord(Protocol):
    """A batch as it is kept, in a log or in a copy; `eventstore.log.reader.Record` says what of."""

    @property
    def revision(self) -> int:
        """Of the batch."""

    @property
    def time_ns(self) -> int:
        """Of the batch."""

    @property
    def digest(self) -> bytes:
        """Chain digest of the batch."""

    @property
    def payload(self) -> bytes:
        """The batch, packed."""

    @property
    def path(self) -> str:
        """Where it was read."""

    @property
    def offset_bytes(self) -> int:
        """Where in that."""

    @property
    def is_redacted(self) -> bool:
        """Whether parts of it were erased."""


def start_state(projections: Sequence[Projection], checkpoint: Checkpoint | None) -> State:
    """Return the state at a checkpoint, or the empty one; stale tables start empty."""
    if checkpoint is None:
        return State(projections, Version(0, b"", 0))
    start = Version(checkpoint.revision, checkpoint.digest, checkpoint.time_ns)
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


def replay_record(state: State, record: Record, batch: Batch | None = None) -> None:
    """Fold a batch into the state as its next version.

    Args:
        state: to be folded into.
        record: that holds the batch.
        batch: itself, where it was decoded already.

    Raises:
        CorruptionError: the payload is no batch.
        ProjectionError: a projection can't apply what it once emitted.
        MemoryError: the interpreter ran out of memory; that says nothing about batch or projection.
        RecursionError: it ran out of stack; that says as little.
    """
    events = _decoded(record)[1] if batch is None else batch.events
    applied = 0
    state.begin(is_replaying=True)
    try:
        for event in events:
            state.apply(event)
            applied += 1
    except BaseException as error:
        state.rollback()
        if not isinstance(error, Exception) or isinstance(error, CorruptionError):
            raise
        place = f"revision {record.revision} can't be replayed"
        if isinstance(error, _EXHAUSTED):
            raise _exhausted(error, place) from error
        raise ProjectionError(
            f"{place}: {type(error).__name__}: {error} (event {applied + 1} of "
            f"{len(events)}, {excerpt(events[applied].type)})",
            "Projection.apply must accept every event it has ever accepted",
        ) from error
    state.publish(state.commit(record.revision, record.digest, record.time_ns))


def _exhausted(error: Exception, place: str) -> Exception:
    """Return what is raised where the interpreter had no room left for a replay."""
    detail = f" ({error})" if str(error) else ""
    if isinstance(error, MemoryError):
        return MemoryError(
            f"{place}: the interpreter ran out of memory{detail}: the whole state is in it"
        )
    return RecursionError(
        f"{place}: the interpreter ran out of stack{detail}: call this from less deep, or raise "
        "the recursion limit; an apply that calls itself without end looks the same"
    )


def decode_record(record: PackedRecord) -> Batch:
    """Return the batch in a verified record.

    Raises:
        CorruptionError: the payload is no batch, although its checksum and digest hold.
    """
    metadata, events = _decoded(record)
    return Batch(
        record.revision, record.time_ns, metadata, events, record.digest, record.is_redacted
    )


def _decoded(record: PackedRecord) -> tuple[Metadata, tuple[Event, ...]]:
    try:
        return decode_batch(record.payload)
    except DecodeError as error:
        raise CorruptionError(
            record.path, record.offset_bytes, f"revision {record.revision} is no batch: {error}"
        ) from error


def _fitting_rows(
    projections: Sequence[Projection], checkpoint: Checkpoint
) -> dict[str, StoredRows]:
    """Return the rows in a checkpoint of the projections that it holds in their version."""
    stale = {projection.name for projection in stale_projections(projections, checkpoint)}
    return {table.table: rows for table, rows in checkpoint.tables if table.projection not in stale}
