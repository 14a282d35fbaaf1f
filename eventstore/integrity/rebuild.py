"""Writing the new store of a repair: segments and bases of checkpoints are copied as they are.

Where a checkpoint ends in a delta, what its chain holds is written as a base.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from eventstore.checkpoints.loader import load_checkpoint
from eventstore.checkpoints.writer import fold_checkpoint
from eventstore.errors import CompactedError, CorruptionError
from eventstore.files.content import read_file, write_file
from eventstore.files.paths import join
from eventstore.format.durable import pack_durable
from eventstore.format.names import (
    CHECKPOINTS_NAME,
    DIRECTORY_NAMES,
    DURABLE_NAME,
    TREE_NAME,
    WAL_NAME,
    checkpoint_name,
    leaves_name,
    segment_name,
)
from eventstore.format.segment import (
    SEGMENT_BYTES_LIMIT,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    pack_segment_header,
)
from eventstore.integrity.chains import frame_again, records_of
from eventstore.log.writer import draw_mark
from eventstore.maintenance.compaction import compact
from eventstore.options import BATCH_BYTES_DEFAULT, Retention
from eventstore.proofs.store_tree import StoreTree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from eventstore.files.interface import FileSystem
    from eventstore.integrity.chains import Chain, Piece
    from eventstore.integrity.salvage import Base
    from eventstore.log.reader import Record
    from eventstore.proofs.leaf_files import LeafFile


class Choice(NamedTuple):
    """What the new store is made of.

    Attributes:
        chain: its log.
        bases: where its state can start, ascending; never empty.
    """

    chain: Chain
    bases: tuple[Base, ...]


def write_store(
    source: FileSystem,
    target: FileSystem,
    path: str,
    store_id: bytes,
    choice: Choice,
    leaf_files: Sequence[LeafFile],
) -> None:
    """Write the new store and make it durable.

    Args:
        source: where the old store is.
        target: where the new one goes, as the holder of its lock sees it.
        path: of the new store; a directory that holds nothing yet.
        store_id: of the new store.
        choice: what to write.
        leaf_files: of the old store: what they hold of batches that are gone is in no other place.

    Raises:
        OSError: what was written so far is left behind.
    """
    for name in DIRECTORY_NAMES:
        if not target.exists(join(path, name)):
            target.make_directory(join(path, name))
    durable = pack_durable(store_id, choice.chain.last_revision)
    write_file(target, join(path, DURABLE_NAME), durable)
    target.sync_directory(path)
    _copy_checkpoints(source, target, path, choice.bases)
    wal_path = join(path, WAL_NAME)
    if choice.chain.pieces:
        _copy_segments(source, target, wal_path, store_id, choice.chain)
    else:
        _write_empty_segment(target, wal_path, store_id, choice.bases[-1])
    target.sync_directory(wal_path)
    tree = StoreTree.of_files(target, path, store_id)
    last_revision = choice.chain.last_revision
    if choice.chain.first_revision > 1:
        _copy_leaves(source, target, path, tree, leaf_files, last_revision)
    # What two checkpoints supersede goes to the archive, as in any store.
    compact(
        target,
        path,
        store_id,
        Retention.keep_all(),
        tree=tree,
        durable_revision=last_revision,
        say_dropped=lambda _: False,  # nothing is
    )


def _copy_checkpoints(
    source: FileSystem, target: FileSystem, path: str, bases: Sequence[Base]
) -> None:
    directory = join(path, CHECKPOINTS_NAME)
    for base in bases:
        if base.path is None:
            continue
        checkpoint = load_checkpoint(source, base.path, with_digest=True)
        if checkpoint.delta_count:
            fold_checkpoint(target, directory, checkpoint)
        else:
            copy = join(directory, checkpoint_name(base.revision))
            write_file(target, copy, read_file(source, base.path))
    target.sync_directory(directory)


def _copy_leaves(
    source: FileSystem,
    target: FileSystem,
    path: str,
    tree: StoreTree,
    leaf_files: Sequence[LeafFile],
    last_revision: int,
) -> None:
    """Copy leaf files, if they are of the history that the new store has."""
    directory = join(path, TREE_NAME)
    copies = {
        join(directory, leaves_name(file.first_revision, file.leaf_count)): file.path
        for file in leaf_files
    }
    for copy, original in copies.items():
        write_file(target, copy, read_file(source, original))
    try:
        tree.grow(last_revision)
    except (CompactedError, CorruptionError):
        for copy in copies:
            target.remove(copy)
    target.sync_directory(directory)


def _copy_segments(
    source: FileSystem, target: FileSystem, wal_path: str, store_id: bytes, chain: Chain
) -> None:
    """Write the records of a chain as segments, one or more for each stretch of a file."""
    segment: _Segment | None = None
    predecessor_bytes = chain.pieces[0].stretch.header.predecessor_bytes
    try:
        for stretch in _stretches(chain):
            last = stretch[-1].stretch
            for record, previous in _records(source, stretch):
                is_first = record.revision == stretch[0].entry.revision + 1
                if segment is None or is_first or not segment.takes(record.payload):
                    if segment is not None:
                        predecessor_bytes = segment.finish()
                    header = SegmentHeader(
                        store_id=store_id,
                        first_revision=record.revision,
                        predecessor_digest=previous,
                        predecessor_bytes=predecessor_bytes,
                        batch_bytes_max=last.header.batch_bytes_max,
                        created_ns=last.header.created_ns or last.end.time_ns,
                        mark=draw_mark(record.payload),
                        may_redact=last.header.may_redact,
                    )
                    segment = _Segment(target, wal_path, header)
                segment.add(record, previous)
        if segment is not None:
            segment.finish()
    finally:
        if segment is not None:
            segment.file.close()


def _records(file_system: FileSystem, pieces: list[Piece]) -> Iterator[tuple[Record, bytes]]:
    """Yield records, each with the digest of the one before it."""
    for piece in pieces:
        digest = piece.entry.digest
        for record in records_of(file_system, piece):
            yield record, digest
            digest = record.digest


class _Segment:
    """A segment of the new store that is being written."""

    def __init__(self, file_system: FileSystem, wal_path: str, header: SegmentHeader) -> None:
        self._framing = header.framing
        self.file = file_system.create(join(wal_path, segment_name(header.first_revision)))
        self.file.write(0, pack_segment_header(header))
        self._offset_bytes = SEGMENT_HEADER_BYTES

    def takes(self, payload: bytes) -> bool:
        """Say whether a payload fits: a record grows by its mark, and none may hold the mark."""
        end = self._offset_bytes + self._framing.record_bytes(len(payload))
        return end <= SEGMENT_BYTES_LIMIT and self._framing.mark not in payload

    def add(self, record: Record, previous_digest: bytes) -> None:
        """Write a record behind the last one."""
        frame, stated = frame_again(record, previous_digest, self._framing)
        if stated != record.digest:
            raise CorruptionError(
                record.path, record.offset_bytes, "the record is not what was read there before"
            )
        self.file.write(self._offset_bytes, frame)
        self._offset_bytes += len(frame)

    def finish(self) -> int:
        """Make the segment durable, and return where its records end."""
        self.file.sync()
        self.file.close()
        return self._offset_bytes


def _stretches(chain: Chain) -> Iterator[list[Piece]]:
    """Yield the pieces that come one after the other in the same file."""
    stretch = [chain.pieces[0]]
    for piece in chain.pieces[1:]:
        last = stretch[-1].stretch
        is_adjacent = piece.entry.offset_bytes == last.end.offset_bytes
        if piece.stretch.source != last.source or not is_adjacent:
            yield stretch
            stretch = []
        stretch.append(piece)
    yield stretch


def _write_empty_segment(
    file_system: FileSystem, wal_path: str, store_id: bytes, base: Base
) -> None:
    header = SegmentHeader(
        store_id=store_id,
        first_revision=base.revision + 1,
        predecessor_digest=base.digest,
        predecessor_bytes=0,
        batch_bytes_max=BATCH_BYTES_DEFAULT,
        created_ns=max(time.time_ns(), 0),  # as records have it
        mark=draw_mark(),
    )
    path = join(wal_path, segment_name(base.revision + 1))
    write_file(file_system, path, pack_segment_header(header))
