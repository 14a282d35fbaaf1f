"""Building the state while a store is opened.

It starts at the checkpoint that the scan chose and folds every record after it. A projection that
the checkpoint does not hold, or holds in another version, is rebuilt from the log first. Tables in
the checkpoint of projections that were not given are *left out*: they belong to its revision, and
nobody here can fold a later batch into them.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.changed import ChangedKeys, Standing, keys_max
from eventstore.errors import CompactedError, ProjectionError
from eventstore.recovery.carrying import carried_over
from eventstore.recovery.decide import contradiction
from eventstore.recovery.replay import replay_record, stale_projections, start_state
from eventstore.reports import RebuiltProjection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventstore.checkpoints.checkpoint import Checkpoint
    from eventstore.checkpoints.reader import TableName
    from eventstore.log.interface import LogReader
    from eventstore.log.reader import Record
    from eventstore.projection import Projection
    from eventstore.tables.state import State
    from eventstore.tables.stored import StoredRows

    Read = Callable[[int, int], Iterator[Record]]
    OnRebuild = Callable[[int, int], object]

_BATCHES_BETWEEN_CALLS = 1000

_logger = logging.getLogger("eventstore")


class LeftOut(NamedTuple):
    """Tables in a checkpoint that belong to none of the projections given.

    Attributes:
        revision: of the checkpoint.
        tables: what each table is, and its rows.
    """

    revision: int
    tables: tuple[tuple[TableName, StoredRows], ...]


class Loaded(NamedTuple):
    """The state that an open has built.

    Attributes:
        state: with every batch.
        checkpointed_revision: of the checkpoint that it was built on, 0 if there was none, or
            if it does not hold all projections in their version.
        left_out: what the checkpoint holds of projections that were not given.
        rebuilt: the projections that were folded anew.
        standing: the checkpoint, if a delta can continue it, and what was changed since.
        replay_seconds: how long it took to read and fold what was after it.
    """

    state: State
    checkpointed_revision: int
    left_out: LeftOut
    rebuilt: tuple[RebuiltProjection, ...]
    standing: Standing | None
    replay_seconds: float


def load(
    path: str,
    projections: Sequence[Projection],
    checkpoint: Checkpoint | None,
    records: Iterable[Record],
    read: Read,
    on_rebuild: OnRebuild | None = None,
    *,
    last_revision: int = 0,
) -> Loaded:
    """Build the state of a log.

    Args:
        path: of the store, for messages.
        projections: what the events are folded into.
        checkpoint: where to start; None for the empty state.
        records: all that are after it, in order.
        read: yields the records from one revision to another, for what must be rebuilt.
        on_rebuild: called now and then during a rebuild, and while the records are folded, with
            the revision reached and the last one, as far as that is known.
        last_revision: the least that the last record has.

    Raises:
        ProjectionError: a projection must be rebuilt and its events are no longer kept, or it
            can't apply one.
        CorruptionError: a payload is no batch; or, of what a rebuild reads, something is damaged.
    """
    found, checkpoint = checkpoint, carried_over(projections, checkpoint)
    state = start_state(projections, checkpoint)
    rebuilt: tuple[RebuiltProjection, ...] = ()
    left_out = LeftOut(0, ())
    checkpointed_revision = 0
    if checkpoint is not None:
        given = {projection.name for projection in projections}
        left_out = LeftOut(
            checkpoint.revision,
            tuple(table for table in checkpoint.tables if table[0].projection not in given),
        )
        stale = stale_projections(projections, checkpoint)
        if stale:
            state.adopt(_rebuilt_state(path, stale, checkpoint, read, on_rebuild))
            rebuilt = _told(stale, checkpoint)
        elif checkpoint is found:
            checkpointed_revision = checkpoint.revision
    standing = _standing(state, checkpoint) if checkpoint and checkpointed_revision else None
    started = time.monotonic()
    for record in records:
        replay_record(state, record)
        if record.revision % _BATCHES_BETWEEN_CALLS:
            continue
        if standing is not None:
            # Versions that were passed can be freed.
            standing.changed.advance(state.durable)
        if on_rebuild is not None:
            on_rebuild(record.revision, max(record.revision, last_revision))
    seconds = time.monotonic() - started
    return Loaded(state, checkpointed_revision, left_out, rebuilt, standing, seconds)


def _standing(state: State, checkpoint: Checkpoint) -> Standing:
    return Standing(
        checkpoint.revision,
        checkpoint.digest,
        tuple(name for name, _ in checkpoint.tables),
        checkpoint.changed_rows,
        checkpoint.delta_count,
        ChangedKeys(state.durable, keys_max(checkpoint.base_rows)),
    )


def load_log(
    path: str,
    projections: Sequence[Projection],
    log: LogReader,
    on_rebuild: OnRebuild | None = None,
) -> Loaded:
    """Build the state of a log that is open, from its newest checkpoint on; raises as `load`."""
    durable = log.durable_revision
    checkpoint = log.checkpoint_before(durable)
    base = checkpoint.revision if checkpoint is not None else 0
    records = log.read(base + 1, durable)
    return load(path, projections, checkpoint, records, log.read, on_rebuild, last_revision=durable)


def _rebuilt_state(
    path: str,
    stale: list[Projection],
    checkpoint: Checkpoint,
    read: Read,
    on_rebuild: OnRebuild | None,
) -> State:
    """Fold the log up to the checkpoint into the projections that it does not hold."""
    state = start_state(stale, None)
    names = ", ".join(f"{projection.name!r}" for projection in stale)
    last = checkpoint.revision
    _logger.warning(
        "%s: rebuilding projection %s from revisions 1 to %d, since the newest checkpoint does "
        "not hold it in this version",
        path,
        names,
        last,
    )
    started = time.monotonic()
    try:
        for record in read(1, last):
            replay_record(state, record)
            if record.revision == last:
                _require_same_history(checkpoint, record)
            if on_rebuild is not None and (
                record.revision == last or record.revision % _BATCHES_BETWEEN_CALLS == 0
            ):
                on_rebuild(record.revision, last)
    except CompactedError as error:
        raise ProjectionError(
            f"{path}: the newest checkpoint does not hold projection {names} in this "
            f"version, and it can't be rebuilt: {error}"
        ) from error
    _logger.info("%s: rebuilt projection %s in %.1f s", path, names, time.monotonic() - started)
    return state


def _told(stale: list[Projection], checkpoint: Checkpoint) -> tuple[RebuiltProjection, ...]:
    held = {table.projection: table.projection_version for table, _ in checkpoint.tables}
    return tuple(
        RebuiltProjection(one.name, one.version, held.get(one.name), checkpoint.revision)
        for one in stale
    )


def _require_same_history(checkpoint: Checkpoint, record: Record) -> None:
    """Check that the log at a checkpoint's revision is what the checkpoint was made from."""
    problem = contradiction(checkpoint, record.digest, record.path, record.offset_bytes)
    if problem is not None:
        raise problem.error()
