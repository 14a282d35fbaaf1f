"""Reading the past: batches, and the state at a revision or a time.

Both read the log and the archive with the one scanner. A past state is the newest checkpoint at
or before it, with the batches after that replayed; or a replay from the first batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.errors import CompactedError
from eventstore.recovery.carrying import carried_over
from eventstore.recovery.replay import decode_record, replay_record, stale_projections, start_state
from eventstore.upcasting import upcast_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventstore.event import Batch, Event
    from eventstore.log.interface import LogReader, Wanted
    from eventstore.projection import Projection
    from eventstore.tables.state import State
    from eventstore.upcasting import Upcasters


def state_at(log: LogReader, projections: Sequence[Projection], revision: int) -> State:
    """Return the state as it was at a durable revision. O(batches since a checkpoint).

    Raises:
        CompactedError: the batches that are needed are no longer kept.
        CorruptionError: what it would start from is damaged, or of another history.
    """
    checkpoint = carried_over(projections, log.checkpoint_before(revision))
    if stale_projections(projections, checkpoint):
        checkpoint = None
    state = start_state(projections, checkpoint)
    first_revision = state.newest.revision + 1
    if first_revision <= revision:
        if first_revision < log.oldest_revision():
            raise CompactedError(revision, log.oldest_state(), is_of_state=True)
        for record in log.read(first_revision, revision):
            replay_record(state, record)
    return state


def replayed_state(
    log: LogReader,
    projections: Sequence[Projection],
    revision: int,
    on_batch: Callable[[int], object],
) -> State:
    """Return the state at a durable revision by the log alone, from the first batch on.

    Raises:
        CompactedError: the first batches are no longer kept.
        CorruptionError: a batch is damaged.
        ProjectionError: a projection can't apply what it once emitted.
    """
    oldest = log.oldest_revision()
    if oldest > 1:
        raise CompactedError(1, oldest)
    state = start_state(projections, None)
    for record in log.read(1, revision):
        replay_record(state, record)
        on_batch(record.revision)
    return state


def revision_at(log: LogReader, time_ns: int, last_revision: int) -> int:
    """Return the last revision whose time is not after a time; 0 if there is none.

    Args:
        log: where they are.
        time_ns: the time.
        last_revision: the newest that comes into question.

    Raises:
        CompactedError: the batches of that time are no longer kept.
    """
    oldest = log.oldest_revision()
    last = log.revision_at(time_ns, last_revision)
    if 0 < last < oldest:
        # The time is before the oldest batch. How long before, only a checkpoint can tell.
        checkpoint = log.checkpoint_before(last)
        if checkpoint is None or checkpoint.revision < last or checkpoint.time_ns > time_ns:
            raise CompactedError(last, oldest)
    return last


def batches(
    log: LogReader, first_revision: int, last_revision: int, upcasters: Upcasters
) -> Iterator[Batch]:
    """Yield durable batches, their events as these upcasters leave them.

    Raises:
        CompactedError: the first ones are no longer kept.
        ProjectionError: an upcaster failed.
    """
    for record in log.read(first_revision, last_revision):
        yield upcast_batch(decode_record(record), upcasters)


def search(
    log: LogReader,
    first_revision: int,
    last_revision: int,
    wanted: Wanted,
    is_about: Callable[[Event], bool],
    upcasters: Upcasters,
    *,
    reverse: bool,
) -> Iterator[Batch]:
    """Yield the durable batches that are wanted, oldest or newest first.

    Args:
        log: where they are.
        first_revision: the least.
        last_revision: the highest.
        wanted: which.
        is_about: whether an event, as logged, is about one of the keys, where keys are asked for.
        upcasters: that lead to the events as they are shown.
        reverse: newest first.

    Raises:
        CompactedError: the first ones are no longer kept.
        ProjectionError: an upcaster failed.
    """
    for record in log.select(first_revision, last_revision, wanted, reverse=reverse):
        batch = decode_record(record)
        if wanted.actor is not None and batch.metadata.actor != wanted.actor:
            continue
        if wanted.event_type is not None and (
            all(event.type != wanted.event_type for event in batch.events)
        ):
            continue
        if wanted.keys is None or any(is_about(event) for event in batch.events):
            yield upcast_batch(batch, upcasters)
