"""Making a store of batches that exist already: what a restore and a load have in common.

It is made by the one rule for making (`eventstore.directory.making`), beside nothing and over
nothing. The batches get new segments and keep their digests; then the store is opened, which folds
them all, and a checkpoint is written, so that the next open need not do that again. What is not a
sound store never becomes one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from eventstore.backend.opening import open_file_log
from eventstore.checkpoints.reader import no_pause
from eventstore.copies.framing import framed_segments
from eventstore.copies.places import require_outside
from eventstore.directory.making import making
from eventstore.errors import CorruptionError, ProjectionError
from eventstore.files.content import write_file
from eventstore.files.paths import join
from eventstore.format.durable import pack_durable
from eventstore.format.leaves import DIGEST_BYTES, SPAN_LEAVES
from eventstore.format.names import (
    CHECKPOINTS_NAME,
    DIRECTORY_NAMES,
    DURABLE_NAME,
    TREE_NAME,
    WAL_NAME,
    checkpoint_name,
    segment_name,
)
from eventstore.format.segment import SegmentHeader, pack_segment_header
from eventstore.log.writer import draw_mark
from eventstore.maintenance.checkpointing import Checkpointer
from eventstore.options import BATCH_BYTES_DEFAULT
from eventstore.proofs.leaf_files import span_start, write_leaf_file
from eventstore.proofs.spans import MemorySpan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from eventstore.copies.framing import ChainPosition, PackedBatch
    from eventstore.files.guarded import GuardedFileSystem
    from eventstore.files.interface import FileSystem
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection


class NewPlace(NamedTuple):
    """Where a store is to be made.

    Attributes:
        file_system: that it is on.
        path: of the store.
        projections: to fold its batches with.
        options: of the store.
        purpose: what for: whoever finds it half made reads this.
    """

    file_system: FileSystem
    path: str
    projections: Sequence[Projection]
    options: StoreOptions
    purpose: str


class Beginning(NamedTuple):
    """What the batches of a new store continue.

    Attributes:
        store_id: of the store.
        place: before the first batch.
        state: revision and content of a checkpoint to start from; None for the empty state.
        leaves: digests of the batches before, where they are known.
    """

    store_id: bytes
    place: ChainPosition
    state: tuple[int, bytes] | None = None
    leaves: bytes = b""


def make_store(
    new: NewPlace, begin: Callable[[], tuple[Beginning, Iterable[PackedBatch]]]
) -> tuple[Beginning, ChainPosition]:
    """Make a store of batches.

    Args:
        new: where.
        begin: returns what the store is made of, once its place is held.

    Returns:
        what it begins with, and where it ends.

    Raises:
        StoreExistsError: something is there, which stays as it is; or it would be in a store.
        BackupError: it would be in a backup.
        CorruptionError: the batches are not those of one chain, or can't be read.
        ProjectionError: a projection can't fold them.
        StorageFullError: there is no space.
    """
    require_outside(new.file_system, new.path)
    with making(new.file_system, new.path, new.purpose, new.options) as held:
        beginning, batches = begin()
        for name in DIRECTORY_NAMES:
            held.make_directory(join(new.path, name))
        held.sync_directory(new.path)
        _write_beginning(held, new.path, beginning)
        end = _write_batches(held, new, beginning, batches)
        write_file(
            held, join(new.path, DURABLE_NAME), pack_durable(beginning.store_id, end.revision)
        )
        held.sync_directory(new.path)
        _fold(held, new, end)
    return beginning, end


def _write_beginning(held: GuardedFileSystem, path: str, beginning: Beginning) -> None:
    if beginning.state is not None:
        revision, content = beginning.state
        directory = join(path, CHECKPOINTS_NAME)
        write_file(held, join(directory, checkpoint_name(revision)), content)
        held.sync_directory(directory)
    span_bytes = SPAN_LEAVES * DIGEST_BYTES
    for number, at in enumerate(range(0, len(beginning.leaves), span_bytes)):
        span = MemorySpan(beginning.leaves[at : at + span_bytes])
        write_leaf_file(held, path, beginning.store_id, span_start(number), span.parts())
    held.sync_directory(join(path, TREE_NAME))


def _write_batches(
    held: GuardedFileSystem, new: NewPlace, beginning: Beginning, batches: Iterable[PackedBatch]
) -> ChainPosition:
    wal_path, end = join(new.path, WAL_NAME), beginning.place
    for segment in framed_segments(batches, beginning.store_id, end, new.options.segment_bytes):
        write_file(held, join(wal_path, segment_name(segment.first_revision)), segment.data)
        end = segment.end
    if end == beginning.place:
        header = SegmentHeader(
            store_id=beginning.store_id,
            first_revision=end.revision + 1,
            predecessor_digest=end.digest,
            predecessor_bytes=0,
            batch_bytes_max=BATCH_BYTES_DEFAULT,
            created_ns=end.time_ns,
            mark=draw_mark(),
        )
        path = join(wal_path, segment_name(end.revision + 1))
        write_file(held, path, pack_segment_header(header))
    held.sync_directory(wal_path)
    return end


def _fold(held: GuardedFileSystem, new: NewPlace, end: ChainPosition) -> None:
    """Open the store, which reads and folds all of it, and write its state down."""
    log, loaded = open_file_log(held, new.path, new.projections, new.options, ends_hold=False)
    try:
        if (log.head.revision, log.head.digest) != (end.revision, end.digest) and end.revision:
            raise CorruptionError(new.path, 0, "the new store is not what was written")
        checkpointer = Checkpointer(
            new.path, loaded.state, log, new.projections, new.options, loaded
        )
        # Of a store with other projections, whose tables only the driver that has them can fold.
        with contextlib.suppress(ProjectionError):
            checkpointer.write(no_pause)
    finally:
        log.close()
