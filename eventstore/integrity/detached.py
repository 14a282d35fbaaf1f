"""Batches that can be read but have no place in the new store: kept in a file beside it.

They stand before a gap that a checkpoint bridges, behind one that nothing bridges, or are of
another branch. A log without a gap can't hold them, but they are history: each is one line of JSON,
written as it is read, by the first revision of each stretch. FORMAT.md says what a line holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.directory.making import create_beside
from eventstore.files.paths import parent
from eventstore.format.jsonlines import json_line, json_value
from eventstore.integrity.chains import Piece, records_of
from eventstore.recovery.replay import decode_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.event import Batch
    from eventstore.files.guarded import GuardedFileSystem
    from eventstore.files.interface import FileSystem
    from eventstore.integrity.chains import Chain
    from eventstore.log.reader import Record
    from eventstore.log.stretches import Stretch

_BUFFER_BYTES = 1024 * 1024


class DetachedBatches(NamedTuple):
    """What was kept beside the new store.

    Attributes:
        path: of the file; None if there was nothing to keep, and so no file.
        batch_count: how many batches are in it.
        revisions: theirs, as ascending ranges (first, last). Two branches may each have a batch of
            one revision: both are counted, and the range has it once.
    """

    path: str | None
    batch_count: int
    revisions: tuple[tuple[int, int], ...]


def write_detached(
    source: FileSystem, target: GuardedFileSystem, path: str, stretches: list[Stretch], chain: Chain
) -> DetachedBatches:
    """Write every batch of the stretches that is not in the chain, once, and make them durable.

    Args:
        source: where the old store is.
        target: where the new store is being made; what is written belongs to its making.
        path: of the new store; the file goes beside it.
        stretches: all that can be read.
        chain: what the new store holds.

    Memory: the digests of what overlaps a stretch.
    """
    records = _detached_records(source, stretches, chain)
    first = next(records, None)
    if first is None:
        return DetachedBatches(None, 0, ())
    count, ranges = 0, _Ranges()
    file = create_beside(target, path)
    try:
        offset, buffer = 0, bytearray()
        record: Record | None = first
        while record is not None:
            buffer += _line(decode_record(record))
            count += 1
            ranges.add(record.revision)
            record = next(records, None)
            if record is None or len(buffer) > _BUFFER_BYTES:
                file.write(offset, bytes(buffer))
                offset += len(buffer)
                buffer.clear()
        file.sync()
    finally:
        file.close()
    target.sync_directory(parent(file.path))
    return DetachedBatches(file.path, count, ranges.found())


class _Ranges:
    """Revisions, as ascending ranges."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def add(self, revision: int) -> None:
        first, last = self._ranges[-1] if self._ranges else (0, -1)
        if first <= revision <= last:
            return
        if revision == last + 1 and self._ranges:
            self._ranges[-1] = (first, revision)
        else:
            self._ranges.append((revision, revision))

    def found(self) -> tuple[tuple[int, int], ...]:
        """Return them, those that touch or overlap as one."""
        joined: list[tuple[int, int]] = []
        for first, last in sorted(self._ranges):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
            else:
                joined.append((first, last))
        return tuple(joined)


def _detached_records(
    file_system: FileSystem, stretches: list[Stretch], chain: Chain
) -> Iterator[Record]:
    """Yield the records that are not in the chain, each once, by the order of their stretches."""
    accounted = list(chain.pieces)
    whole = {piece.stretch for piece in chain.pieces if piece.entry == piece.stretch.start}
    others = [stretch for stretch in stretches if stretch not in whole]
    for stretch in sorted(
        others, key=lambda stretch: (stretch.start.revision, stretch.end.revision)
    ):
        # What a chain enters in the middle, or a second copy of a segment, holds the same batches.
        known = {
            record.digest
            for piece in accounted
            if _overlap(piece, stretch)
            for record in records_of(file_system, piece)
            if stretch.start.revision < record.revision <= stretch.end.revision
        }
        piece = Piece(stretch, stretch.start)
        for record in records_of(file_system, piece):
            if record.digest not in known:
                yield record
        accounted.append(piece)


def _overlap(piece: Piece, stretch: Stretch) -> bool:
    return (
        piece.entry.revision < stretch.end.revision
        and stretch.start.revision < piece.stretch.end.revision
    )


def _line(batch: Batch) -> bytes:
    fields = {
        "revision": batch.revision,
        "time_ns": batch.time_ns,
        "digest": batch.digest.hex(),
        **batch.metadata._asdict(),
        "events": [
            {"type": event.type, "version": event.version, "data": json_value(event.data)}
            for event in batch.events
        ],
    }
    return json_line(fields)
