"""Joining what was salvaged of a log to chains, by the digests.

Runs are joined where the digest at the end of one is what the next one continues, so records of
two histories never get into one chain. Where two files hold the same records, as when compaction
was cut short, a chain goes on in the one when the other ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError
from eventstore.format.segment import Framing, frame_record
from eventstore.log.reader import Position, Record, SegmentScanner
from eventstore.log.search import read_record
from eventstore.log.segments import open_readable_part
from eventstore.log.stretches import UNKNOWN, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.files.interface import FileSystem
    from eventstore.integrity.salvage import Base


class Piece(NamedTuple):
    """The part of a run that is in a chain: all records from a position on."""

    run: Stretch
    entry: Position


class Chain(NamedTuple):
    """Records without a gap, each of which continues the one before.

    Attributes:
        first_revision: of the first record, or that it would have.
        last_revision: of the last one.
        pieces: where they are; empty if there are none.
    """

    first_revision: int
    last_revision: int
    pieces: tuple[Piece, ...]


def records_of(file_system: FileSystem, piece: Piece) -> Iterator[Record]:
    """Yield the records of a piece.

    Raises:
        CorruptionError: they can't be read any more.
    """
    run, entry = piece
    file, _ = open_readable_part(file_system, run.source)
    revision = entry.revision
    try:
        records: Iterable[Record] = SegmentScanner(file, run.header, entry)
        if run.start.digest == UNKNOWN:
            record = read_record(file, run.header, run.start.offset_bytes)
            records = () if record is None else (record,)
        for record in records:
            if record.revision != revision + 1 or record.revision > run.end.revision:
                break
            revision = record.revision
            yield record
    finally:
        file.close()
    if revision != run.end.revision:
        raise CorruptionError(
            run.source.path, entry.offset_bytes, "what was read before can't be read again"
        )


def enter(file_system: FileSystem, run: Stretch, revision: int, digest: bytes) -> Position | None:
    """Return the position in a run behind a revision, if it has that digest there."""
    start, end = run.start, run.end
    if revision == end.revision:
        return end if end.digest == digest else None
    if revision == start.revision and start.digest != UNKNOWN:
        return start if start.digest == digest else None
    if not start.revision <= revision < end.revision:
        return None
    if start.digest == UNKNOWN:
        [record] = records_of(file_system, Piece(run, start))
        _, stated = frame_again(record, digest, run.header.framing)
        return start._replace(digest=digest) if stated == record.digest else None
    file, _ = open_readable_part(file_system, run.source)
    try:
        scanner = SegmentScanner(file, run.header, start)
        for record in scanner:
            if record.revision == revision:
                return scanner.position if record.digest == digest else None
        return None
    finally:
        file.close()


def frame_again(record: Record, previous_digest: bytes, framing: Framing) -> tuple[bytes, bytes]:
    """Return the bytes of a record and its digest, given the digest that it is to continue.

    Where that is the digest which it did continue, the digest is the one that it had at first.
    """
    return frame_record(
        record.payload,
        revision=record.revision,
        time_ns=record.time_ns,
        durable_revision=record.durable_revision,
        previous_digest=previous_digest,
        framing=framing,
    )


class ChainBuilder:
    """Joins runs to chains."""

    def __init__(self, file_system: FileSystem, runs: list[Stretch]) -> None:
        self._file_system = file_system
        # Of two that start together the longer one first: it may be a whole copy of the other.
        self._runs = sorted(
            runs,
            key=lambda run: (run.start.revision, -run.end.revision, run.source.is_archived),
        )

    def chains(self) -> list[Chain]:
        """Return every chain that starts with a run and is not the end of another chain.

        An empty run counts: the header of its segment says what the next record continues.
        """
        found: list[Chain] = []
        used: set[Stretch] = set()
        for run in self._runs:
            if run not in used and run.start.digest != UNKNOWN:
                pieces = self._following(run.start.revision, run.start.digest)
                used.update(piece.run for piece in pieces)
                found.append(_chain(run.start.revision, pieces))
        return [chain for chain in found if chain.pieces]

    def chain_from(self, base: Base) -> Chain:
        """Return what continues a base; perhaps nothing does."""
        return _chain(base.revision, self._following(base.revision, base.digest))

    def holds(self, chain: Chain, base: Base) -> bool:
        """Say whether the revision of a base is in a chain, or just before it, by its digest."""
        for piece in chain.pieces:
            if piece.entry.revision <= base.revision <= piece.run.end.revision:
                return enter(self._file_system, piece.run, *base[:2]) is not None
        return False

    def _following(self, revision: int, digest: bytes) -> list[Piece]:
        pieces: list[Piece] = []
        while piece := self._next(revision, digest):
            pieces.append(piece)
            revision, digest = piece.run.end.revision, piece.run.end.digest
        return pieces

    def _next(self, revision: int, digest: bytes) -> Piece | None:
        fitting = [r for r in self._runs if r.start.revision <= revision < r.end.revision]
        for run in sorted(fitting, key=lambda run: -run.end.revision):
            entry = enter(self._file_system, run, revision, digest)
            if entry is not None:
                return Piece(run, entry)
        return None


def _chain(base_revision: int, pieces: list[Piece]) -> Chain:
    last = pieces[-1].run.end.revision if pieces else base_revision
    return Chain(base_revision + 1, last, tuple(pieces))
