"""Joining what was salvaged of a log to chains, by the digests.

Stretches are joined where the digest at the end of one is what the next one continues, so records
of two histories never get into one chain. Where two files hold the same records, as when compaction
was cut short, a chain goes on in the one when the other ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError
from eventstore.format.segment import Framing, frame_record, frame_redacted
from eventstore.log.reader import Position, Record, SegmentScanner
from eventstore.log.search import read_record
from eventstore.log.segments import open_readable_part
from eventstore.log.stretches import UNKNOWN, Stretch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.files.interface import FileSystem
    from eventstore.integrity.salvage import Base


class Piece(NamedTuple):
    """The part of a stretch that is in a chain: all records from a position on."""

    stretch: Stretch
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
    stretch, entry = piece
    file, _ = open_readable_part(file_system, stretch.source)
    revision = entry.revision
    try:
        records: Iterable[Record] = SegmentScanner(file, stretch.header, entry)
        if stretch.start.digest == UNKNOWN:
            record = read_record(file, stretch.header, stretch.start.offset_bytes)
            records = () if record is None else (record,)
        for record in records:
            if record.revision != revision + 1 or record.revision > stretch.end.revision:
                break
            revision = record.revision
            yield record
    finally:
        file.close()
    if revision != stretch.end.revision:
        raise CorruptionError(
            stretch.source.path, entry.offset_bytes, "what was read before can't be read again"
        )


def enter(
    file_system: FileSystem, stretch: Stretch, revision: int, digest: bytes
) -> Position | None:
    """Return the position in a stretch behind a revision, if it has that digest there."""
    start, end = stretch.start, stretch.end
    if revision == end.revision:
        return end if end.digest == digest else None
    if revision == start.revision and start.digest != UNKNOWN:
        return start if start.digest == digest else None
    if not start.revision <= revision < end.revision:
        return None
    if start.digest == UNKNOWN:
        [record] = records_of(file_system, Piece(stretch, start))
        _, stated = frame_again(record, digest, stretch.header.framing)
        is_next = stated == record.digest and not record.is_redacted
        return start._replace(digest=digest) if is_next else None
    file, _ = open_readable_part(file_system, stretch.source)
    try:
        scanner = SegmentScanner(file, stretch.header, start)
        for record in scanner:
            if record.revision == revision:
                return scanner.position if record.digest == digest else None
        return None
    finally:
        file.close()


def frame_again(record: Record, previous_digest: bytes, framing: Framing) -> tuple[bytes, bytes]:
    """Return the bytes of a record and its digest, given the digest that it is to continue.

    Where that is the digest which it did continue, the digest is the one that it had at first. A
    redacted record can't tell: it keeps the one that it states.
    """
    if record.is_redacted:
        frame = frame_redacted(
            record.payload,
            revision=record.revision,
            time_ns=record.time_ns,
            durable_revision=record.durable_revision,
            digest=record.digest,
            framing=framing._replace(may_redact=True),
        )
        return frame, record.digest
    return frame_record(
        record.payload,
        revision=record.revision,
        time_ns=record.time_ns,
        durable_revision=record.durable_revision,
        previous_digest=previous_digest,
        framing=framing,
    )


class ChainBuilder:
    """Joins stretches to chains."""

    def __init__(self, file_system: FileSystem, stretches: list[Stretch]) -> None:
        self._file_system = file_system
        # Of two that start together the longer one first: it may be a whole copy of the other.
        self._runs = sorted(
            stretches,
            key=lambda stretch: (
                stretch.start.revision,
                -stretch.end.revision,
                stretch.source.is_archived,
            ),
        )

    def chains(self) -> list[Chain]:
        """Return every chain that starts with a stretch and is not the end of another chain.

        An empty stretch counts: the header of its segment says what the next record continues.
        """
        found: list[Chain] = []
        used: set[Stretch] = set()
        for stretch in self._runs:
            if stretch not in used and stretch.start.digest != UNKNOWN:
                pieces = self._following(stretch.start.revision, stretch.start.digest)
                used.update(piece.stretch for piece in pieces)
                found.append(_chain(stretch.start.revision, pieces))
        return [chain for chain in found if chain.pieces]

    def chain_from(self, base: Base) -> Chain:
        """Return what continues a base; perhaps nothing does."""
        return _chain(base.revision, self._following(base.revision, base.digest))

    def holds(self, chain: Chain, base: Base) -> bool:
        """Say whether the revision of a base is in a chain, or just before it, by its digest."""
        for piece in chain.pieces:
            if piece.entry.revision <= base.revision <= piece.stretch.end.revision:
                return enter(self._file_system, piece.stretch, *base[:2]) is not None
        return False

    def _following(self, revision: int, digest: bytes) -> list[Piece]:
        pieces: list[Piece] = []
        while piece := self._next(revision, digest):
            pieces.append(piece)
            revision, digest = piece.stretch.end.revision, piece.stretch.end.digest
        return pieces

    def _next(self, revision: int, digest: bytes) -> Piece | None:
        fitting = [r for r in self._runs if r.start.revision <= revision < r.end.revision]
        for stretch in sorted(fitting, key=lambda stretch: -stretch.end.revision):
            entry = enter(self._file_system, stretch, revision, digest)
            if entry is not None:
                return Piece(stretch, entry)
        return None


def _chain(base_revision: int, pieces: list[Piece]) -> Chain:
    last = pieces[-1].stretch.end.revision if pieces else base_revision
    return Chain(base_revision + 1, last, tuple(pieces))
