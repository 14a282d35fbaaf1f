"""Reading the past: batches, gone by and to come, and the state at a revision or a time.

Both read the log and the archive with the one scanner. A past state is the newest checkpoint at
or before it, with the batches after that replayed; or a replay from the first batch.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from eventstore.codec import DecodeError, Event, Metadata, decode_batch
from eventstore.errors import CompactedError, CorruptionError, ProjectionError
from eventstore.state import Node, State

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from eventstore.checkpoint import Checkpoint
    from eventstore.log.reader import Record
    from eventstore.log.seam import Log
    from eventstore.packed import PackedRows
    from eventstore.projection import Projection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WATCH_POLL_SECONDS = 0.02


class Batch(NamedTuple):
    """The events of one transaction, as the log keeps them.

    Attributes:
        revision: 1, 2, 3 …
        time_ns: nanoseconds since the epoch, never less than the batch before.
        metadata: who and why.
        events: in the order in which they were emitted.
        digest: chain digest.
    """

    revision: int
    time_ns: int
    metadata: Metadata
    events: tuple[Event, ...]
    digest: bytes

    @property
    def time(self) -> datetime:
        """The time in UTC, cut to the microseconds that a datetime holds."""
        return _EPOCH + timedelta(microseconds=self.time_ns // 1000)


def decode_record(record: Record) -> Batch:
    """Return the batch in a verified record.

    Raises:
        CorruptionError: the payload is no batch, although its checksum and digest hold.
    """
    try:
        metadata, events = decode_batch(record.payload)
    except DecodeError as error:
        raise CorruptionError(
            f"revision {record.revision}", record.offset_bytes, str(error)
        ) from error
    return Batch(record.revision, record.time_ns, metadata, events, record.digest)


def time_to_ns(time: datetime | int) -> int:
    """Return a time as nanoseconds since the epoch; an int already is that.

    Raises:
        ValueError: the datetime has no time zone.
        TypeError: it is neither.
    """
    if isinstance(time, int):
        return time
    if not isinstance(time, datetime):
        raise TypeError(f"a time must be a datetime or an int of nanoseconds, not {time!r}")
    if time.tzinfo is None:
        raise ValueError("the time has no time zone: use an aware datetime, such as UTC")
    # To the end of the microsecond: what was shown as this time had happened by then.
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000 + 999


def replay_record(state: State, record: Record) -> None:
    """Fold a batch into the state as its next version.

    Raises:
        CorruptionError: the payload is no batch.
        ProjectionError: a projection can't apply what it once emitted.
    """
    batch = decode_record(record)
    state.begin()
    try:
        for event in batch.events:
            state.apply(event)
    except Exception as error:
        state.rollback()
        raise ProjectionError(
            f"revision {batch.revision} can't be replayed: {type(error).__name__}: {error}; "
            "Projection.apply must accept every event it has ever accepted"
        ) from error
    except BaseException:
        state.rollback()
        raise
    state.publish(state.commit(batch.revision, batch.digest, batch.time_ns))


def start_state(projections: Sequence[Projection], checkpoint: Checkpoint | None) -> State:
    """Return the state at a checkpoint, or the empty one; stale tables start empty."""
    if checkpoint is None:
        return State(projections, Node(0, b"", 0))
    start = Node(checkpoint.revision, checkpoint.digest, checkpoint.time_ns)
    return State(projections, start, fitting_rows(projections, checkpoint))


def fitting_rows(
    projections: Sequence[Projection], checkpoint: Checkpoint
) -> dict[str, PackedRows]:
    """Return the rows in a checkpoint of the projections that it holds in their version."""
    stale = {projection.name for projection in stale_projections(projections, checkpoint)}
    return {table.table: rows for table, rows in checkpoint.tables if table.projection not in stale}


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


def state_at(log: Log, projections: Sequence[Projection], revision: int) -> State:
    """Return the state as it was at a durable revision. O(batches since a checkpoint).

    Raises:
        CompactedError: the batches that are needed are no longer kept.
    """
    checkpoint = log.checkpoint_before(revision)
    if stale_projections(projections, checkpoint):
        checkpoint = None
    state = start_state(projections, checkpoint)
    first_revision = state.newest.revision + 1
    if first_revision <= revision:
        oldest = log.oldest_revision()
        if first_revision < oldest:
            raise CompactedError(revision, oldest)
        for record in log.read(first_revision, revision):
            replay_record(state, record)
    return state


def revision_at(log: Log, time_ns: int) -> int:
    """Return the last durable revision whose time is not after a time; 0 if there is none.

    O(batches): the log is read from its oldest batch on.

    Raises:
        CompactedError: the batches of that time are no longer kept.
    """
    oldest = log.oldest_revision()
    last = oldest - 1
    for record in log.read(oldest, log.durable_revision):
        if record.time_ns > time_ns:
            break
        last = record.revision
    if 0 < last < oldest:
        # The time is before the oldest batch. How long before, only a checkpoint can tell.
        checkpoint = log.checkpoint_before(last)
        if checkpoint is None or checkpoint.revision < last or checkpoint.time_ns > time_ns:
            raise CompactedError(last, oldest)
    return last


def batches(log: Log, first_revision: int, last_revision: int) -> Iterator[Batch]:
    """Yield durable batches.

    Raises:
        CompactedError: the first ones are no longer kept.
    """
    for record in log.read(first_revision, last_revision):
        yield decode_record(record)


def watch(
    log: Log, first_revision: int, closing: threading.Event, timeout_seconds: float | None
) -> Iterator[Batch]:
    """Yield batches as they become durable, without gaps, until `closing` is set.

    Args:
        log: where they are.
        first_revision: of the first batch.
        closing: ends the watch.
        timeout_seconds: end after this long without a batch; None to wait for ever.
    """
    next_revision = first_revision
    idle_seconds = 0.0
    while not closing.is_set():
        durable = log.durable_revision
        if durable >= next_revision:
            idle_seconds = 0.0
            for batch in batches(log, next_revision, durable):
                next_revision = batch.revision + 1
                yield batch
                if closing.is_set():
                    return
        elif timeout_seconds is not None and idle_seconds >= timeout_seconds:
            return
        else:
            closing.wait(_WATCH_POLL_SECONDS)
            idle_seconds += _WATCH_POLL_SECONDS
