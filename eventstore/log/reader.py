"""The one scanner of segments: recovery, followers, history and the tools all read with it.

A scan starts at a known place in the digest chain and yields records for as long as each one is
whole, is the next revision, and continues the chain. Where that ends, `ScanEnd` says how: in zeros
(nothing was ever written there), or at bytes that are no valid next record. What the end *means* is
decided elsewhere (`eventstore.recovery.execute`); the scanner never writes and never guesses. What
lies behind invalid bytes is looked for by `eventstore.log.search`.

Memory: one read-ahead window (1 MiB), or one record if that is larger. Of an archived segment some
MiB more, and its compressed content (`eventstore.log.segments`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError, FormatVersionError
from eventstore.files.content import Window
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.segment import (
    SEGMENT_BYTES_LIMIT,
    SEGMENT_HEADER_BYTES,
    Framing,
    RecordHeader,
    SegmentHeader,
    genesis_digest,
    padded_bytes,
    parts_hold,
    payload_holds,
    record_digest,
    sound_records,
    unpack_record_header,
    unpack_segment_header,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore.files.interface import File


_LARGE_BYTES = 1024 * 1024


class Position(NamedTuple):
    """A place in a segment between two records.

    Attributes:
        offset_bytes: where the next record starts.
        revision: of the last record before it.
        digest: chain digest at that revision.
        time_ns: of that record; 0 where it is not known.
    """

    offset_bytes: int
    revision: int
    digest: bytes
    time_ns: int


class Record(NamedTuple):
    """A verified record.

    Attributes:
        offset_bytes: where it starts in its segment.
        revision: of the batch.
        time_ns: of the batch.
        durable_revision: the highest revision known to be durable when it was framed.
        digest: chain digest of the batch.
        payload: the batch, packed.
        path: of the segment.
        end_bytes: where the next record starts.
        is_redacted: whether some of the payload was erased: then the digest is not of this one.
    """

    offset_bytes: int
    revision: int
    time_ns: int
    durable_revision: int
    digest: bytes
    payload: bytes
    path: str
    end_bytes: int
    is_redacted: bool = False


class ScanEnd(NamedTuple):
    """How a scan ended.

    Attributes:
        position: after the last valid record.
        problem: None where only zeros follow; else why the bytes there are no valid record.
    """

    position: Position
    problem: str | None


def read_segment_header(file: File) -> SegmentHeader:
    """Read and check the first sector of a segment.

    Raises:
        CorruptionError: it is not a segment header, or the file is longer than a segment can be.
        FormatVersionError: it is one of a newer format.
    """
    if file.size_bytes() > SEGMENT_BYTES_LIMIT:
        raise CorruptionError(file.path, 0, "the file is longer than any segment")
    try:
        return unpack_segment_header(file.read(0, SEGMENT_HEADER_BYTES))
    except MalformedError as error:
        raise CorruptionError(file.path, error.offset_bytes, error.reason) from error
    except NewerVersionError as error:
        raise FormatVersionError(file.path, error.found_version, error.known_version) from error


def read_own_header(file: File, store_id: bytes, first_revision: int) -> SegmentHeader:
    """Read the header of a segment that must be this store's, and the one that its name states.

    The checksums of records are seeded with the id in their own segment's header, and the first
    digest of a chain is taken from there: so whoever believes the records must ask this first.

    Raises:
        CorruptionError: it is no segment header, or one of another store or another revision.
        FormatVersionError: it is one of a newer format.
    """
    header = read_segment_header(file)
    reason = None
    if header.store_id != store_id:
        reason = "the segment belongs to another store"
    elif header.first_revision != first_revision:
        reason = f"the header states first revision {header.first_revision}"
    elif first_revision == 1 and header.predecessor_digest != genesis_digest(store_id):
        reason = "the first segment does not start the digest chain of its store"
    if reason is not None:
        raise CorruptionError(file.path, 0, reason)
    return header


def start_of(header: SegmentHeader) -> Position:
    """Return the position before a segment's first record."""
    return Position(SEGMENT_HEADER_BYTES, header.first_revision - 1, header.predecessor_digest, 0)


class SegmentScanner:
    """Iterate over the records of one segment, from a position on.

    `end` is set when the iteration is exhausted; a new scanner from its position goes on when more
    has been written.
    """

    def __init__(self, file: File, header: SegmentHeader, start: Position) -> None:
        self._file = file
        self._window = Window(file)
        self._path = file.path
        self._framing = framing = header.framing
        self._header_bytes = framing.header_bytes
        self._payload_bytes_max = header.batch_bytes_max
        # What the next record must continue, and where it starts. A position is built when asked
        # for: one a record would be a twentieth of a scan.
        self._previous: Position | Record = start
        self._next_bytes = start.offset_bytes
        self.end: ScanEnd | None = None

    @property
    def position(self) -> Position:
        """Behind the last record given out."""
        previous = self._previous
        return Position(self._next_bytes, previous.revision, previous.digest, previous.time_ns)

    def __iter__(self) -> Iterator[Record]:
        while True:
            yield from self._sound()
            record = self._next()
            if isinstance(record, ScanEnd):
                self.end = record
                return
            self._previous, self._next_bytes = record, record.end_bytes
            yield record

    def _sound(self) -> Iterator[Record]:
        """Yield the records that are in the window, up to the first that needs a closer look."""
        previous, offset, path = self._previous, self._next_bytes, self._path
        window, start = self._window.at_hand(offset)
        before = offset - start
        found = sound_records(
            window,
            start,
            self._framing,
            (previous.revision, previous.time_ns, previous.digest),
            self._payload_bytes_max,
        )
        for at, revision, time_ns, durable_revision, digest, payload, after in found:
            end = before + after
            self._previous = record = Record(
                before + at, revision, time_ns, durable_revision, digest, payload, path, end
            )
            self._next_bytes = end
            yield record

    def _next(self) -> Record | ScanEnd:
        previous, framing, offset = self._previous, self._framing, self._next_bytes
        block = self._window.read(offset, self._header_bytes)
        header = next_header(block, framing, previous, self._payload_bytes_max)
        if header is None:
            return self._ended_at_zeros()
        if isinstance(header, str):
            return self._ended(header)
        payload_bytes, _, revision, time_ns, durable_revision, digest, is_redacted = header
        if payload_bytes > _LARGE_BYTES and not large_payload_holds(
            self._file, header, offset, framing
        ):
            return self._ended("the payload fails its checksum")
        start = offset + self._header_bytes
        end = start + padded_bytes(payload_bytes)
        padded = self._window.read(start, end - start)
        payload = padded[:payload_bytes]
        problem = _damage(header, padded, payload, previous.digest, framing.seed)
        if problem:
            return self._ended(problem)
        path = self._path
        return Record(
            offset, revision, time_ns, durable_revision, digest, payload, path, end, is_redacted
        )

    def _ended_at_zeros(self) -> ScanEnd:
        if self._window.is_zero_from(self._next_bytes):
            return self._ended(None)
        return self._ended("a record header is zero although bytes follow it")

    def _ended(self, problem: str | None) -> ScanEnd:
        return ScanEnd(self.position, problem)


def large_payload_holds(
    file: File, header: RecordHeader, offset_bytes: int, framing: Framing
) -> bool:
    """Say whether a payload over 1 MiB has its checksum, so that memory is taken for no other.

    A header that holds may state more than is there, or zeros of a sparse file.
    """
    if header.payload_bytes <= _LARGE_BYTES:
        return True
    start = offset_bytes + framing.header_bytes
    end = start + header.payload_bytes
    if end > file.size_bytes():
        return True  # the file ends inside it, which whoever reads it sees
    parts = (
        file.read(place, min(_LARGE_BYTES, end - place))
        for place in range(start, end, _LARGE_BYTES)
    )
    return parts_hold(header, parts, framing.seed)


def next_header(
    block: bytes, framing: Framing, previous: Position | Record, payload_bytes_max: int
) -> RecordHeader | str | None:
    """Return the header of the next record, what is wrong with it, or None for zeros.

    Args:
        block: the bytes there, as many as a header has, or all that are left.
        framing: of the segment.
        previous: the record before it, or the position behind that.
        payload_bytes_max: the segment's cap.
    """
    if not any(block):
        return None
    if len(block) < framing.header_bytes:
        return "the file ends inside a record header"
    header = unpack_record_header(block, framing)
    if header is None:
        return "a record header fails its checksum"
    return misfit(header, previous, payload_bytes_max) or header


def misfit(header: RecordHeader, previous: Position | Record, payload_bytes_max: int) -> str | None:
    """Say why a whole header can't be that of the next record."""
    revision = previous.revision
    if header.revision != revision + 1:
        return f"the record has revision {header.revision}, expected {revision + 1}"
    if header.payload_bytes > payload_bytes_max:
        return f"the payload of {header.payload_bytes} bytes is over the cap of {payload_bytes_max}"
    if header.time_ns < previous.time_ns:
        return "the record is older than the one before it"
    if header.durable_revision >= header.revision:
        return "the record claims to have been durable before it was written"
    return None


def _damage(
    header: RecordHeader, padded: bytes, payload: bytes, previous_digest: bytes, seed: int
) -> str | None:
    """Say what is wrong with the bytes behind a fitting header."""
    if len(padded) < padded_bytes(header.payload_bytes):
        return "the file ends inside a record"
    if not payload_holds(header, payload, seed):
        return "the payload fails its checksum"
    if any(padded[header.payload_bytes :]):
        return "the padding of a record is not zero"
    if record_digest(header, payload, previous_digest) != header.digest:
        return "the record does not continue the digest chain"
    return None
