"""Reading the past: batches, and the state at a revision or a time.

Both read the log and the archive with the one scanner. A past state is the newest checkpoint at
or before it, with the batches after that replayed; or a replay from the first batch.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from eventstore.arguments import excerpt
from eventstore.errors import CompactedError
from eventstore.event import EPOCH
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


def time_to_ns(time: datetime | int | None, *, to_end: bool = True) -> int:
    """Return a time as nanoseconds since the epoch; an int already is that.

    Args:
        time: an aware datetime, or nanoseconds.
        to_end: of a datetime, the end of its microsecond, or else the start.

    Raises:
        ValueError: the datetime has no time zone.
        TypeError: it is neither.
    """
    if isinstance(time, int) and not isinstance(time, bool):
        return time
    if not isinstance(time, datetime):
        raise TypeError(f"a time must be a datetime or an int of nanoseconds, not {excerpt(time)}")
    if time.tzinfo is None:
        raise ValueError("the time has no time zone: use an aware datetime, such as UTC")
    # To the end of the microsecond: what was shown as this time had happened by then.
    return (time - EPOCH) // timedelta(microseconds=1) * 1000 + (999 if to_end else 0)


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
        oldest = log.oldest_revision()
        if first_revision < oldest:
            raise CompactedError(revision, oldest)
        for record in log.read(first_revision, revision):
            replay_record(state, record)
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
