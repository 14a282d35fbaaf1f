"""Records framed anew, as segments: what a backup's files, a restore and a load are made of.

Payload, revision, time and the durable revision of a record stay, so its digest does; what changes
is the segment around it, and with that the mark and the place. Whoever gives a record gives the
digest that it had: a record that does not continue the chain is found here, whatever it came from.
Of a redacted one only its successor can tell; what vouches for it is checked by whoever reads all
(`eventstore.integrity.redacted`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import CorruptionError
from eventstore.format.codec import salt_of
from eventstore.format.segment import (
    SEGMENT_BYTES_LIMIT,
    SEGMENT_HEADER_BYTES,
    Framing,
    SegmentHeader,
    frame_record,
    frame_redacted,
    pack_segment_header,
    record_seed,
)
from eventstore.log.writer import draw_mark
from eventstore.options import BATCH_BYTES_DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from eventstore.log.reader import Record


class PackedBatch(NamedTuple):
    """A batch to be framed.

    Attributes:
        payload: encoded.
        revision: of the batch.
        time_ns: its time.
        durable_revision: as its record states.
        digest: that it has.
        path: of where it was read, for messages.
        offset_bytes: where in that.
        is_redacted: whether some of the payload was erased: then the digest is not of this one.
    """

    payload: bytes
    revision: int
    time_ns: int
    durable_revision: int
    digest: bytes
    path: str = ""
    offset_bytes: int = 0
    is_redacted: bool = False


class ChainPosition(NamedTuple):
    """Where a history goes on.

    Attributes:
        revision: the last batch; 0 before the first.
        digest: its chain digest.
        time_ns: its time.
        end_bytes: where its record ends in its segment; 0 if there is none.
    """

    revision: int
    digest: bytes
    time_ns: int
    end_bytes: int


class Segment(NamedTuple):
    """A whole segment.

    Attributes:
        data: header and records.
        first_revision: of its first record.
        end: behind its last one.
    """

    data: bytes
    first_revision: int
    end: ChainPosition


def framed_segments(
    batches: Iterable[PackedBatch], store_id: bytes, start: ChainPosition, segment_bytes: int
) -> Iterator[Segment]:
    """Yield the segments of some batches; none is longer than asked for, if it has two or more.

    Args:
        batches: in order.
        store_id: of the store.
        start: what the first of them continues.
        segment_bytes: how long a segment may be.

    Raises:
        CorruptionError: a batch does not continue the chain.
    """
    open_segment: _OpenSegment | None = None
    place, is_plain = start, True
    for batch in batches:
        if open_segment is not None and not open_segment.takes(batch.payload, segment_bytes):
            yield open_segment.finished()
            # As in a store: once one is of version 3, so are all that follow.
            is_plain, open_segment = open_segment.is_plain, None
        if open_segment is None:
            open_segment = _OpenSegment(store_id, place, batch, is_plain=is_plain)
        place = open_segment.add(batch)
    if open_segment is not None:
        yield open_segment.finished()


def digest_after(batch: PackedBatch, store_id: bytes, previous_digest: bytes) -> bytes:
    """Return the digest that a batch has if it continues another one; its own is not looked at.

    Of a redacted one that can't be told: it is the digest which it states.
    """
    if batch.is_redacted:
        return batch.digest
    _, digest = frame_record(
        batch.payload,
        revision=batch.revision,
        time_ns=batch.time_ns,
        durable_revision=batch.durable_revision,
        previous_digest=previous_digest,
        framing=Framing(record_seed(store_id), b""),
    )
    return digest


def batch_of(record: Record) -> PackedBatch:
    """Return the batch that was read from a log."""
    return PackedBatch(
        record.payload,
        record.revision,
        record.time_ns,
        record.durable_revision,
        record.digest,
        record.path,
        record.offset_bytes,
        record.is_redacted,
    )


class _OpenSegment:
    def __init__(
        self, store_id: bytes, place: ChainPosition, first: PackedBatch, *, is_plain: bool
    ) -> None:
        self._header = header = SegmentHeader(
            store_id=store_id,
            first_revision=place.revision + 1,
            predecessor_digest=place.digest,
            predecessor_bytes=place.end_bytes,
            batch_bytes_max=max(BATCH_BYTES_DEFAULT, len(first.payload)),
            created_ns=first.time_ns,
            mark=draw_mark(first.payload),
        )
        self._first_revision = header.first_revision
        self._batch_bytes_max = header.batch_bytes_max
        self._framing = header.framing
        self.is_plain = is_plain
        self._frames: list[bytes] = []
        self._end = place._replace(end_bytes=SEGMENT_HEADER_BYTES)

    def takes(self, payload: bytes, segment_bytes: int) -> bool:
        """Say whether a batch fits: none may hold the mark, nor be over the segment's cap."""
        end = self._end.end_bytes + self._framing.record_bytes(len(payload))
        return (
            end <= min(segment_bytes, SEGMENT_BYTES_LIMIT)
            and len(payload) <= self._batch_bytes_max
            and self._framing.mark not in payload
        )

    def add(self, batch: PackedBatch) -> ChainPosition:
        """Add a batch, and return the place behind it."""
        end = self._end
        if batch.revision != end.revision + 1 or batch.time_ns < end.time_ns:
            raise CorruptionError(
                batch.path,
                batch.offset_bytes,
                f"revision {batch.revision} is not the batch after revision {end.revision}",
            )
        frame, digest = self._framed(batch, end.digest)
        if digest != batch.digest or batch.durable_revision >= batch.revision:
            raise CorruptionError(
                batch.path,
                batch.offset_bytes,
                f"revision {batch.revision} does not continue the digest chain",
            )
        self._frames.append(frame)
        self._end = ChainPosition(batch.revision, digest, batch.time_ns, end.end_bytes + len(frame))
        return self._end

    def finished(self) -> Segment:
        header = self._header._replace(may_redact=not self.is_plain)
        data = b"".join((pack_segment_header(header), *self._frames))
        return Segment(data, self._first_revision, self._end)

    def _framed(self, batch: PackedBatch, previous_digest: bytes) -> tuple[bytes, bytes]:
        """Return the record of a batch, and the digest that it has there."""
        if batch.is_redacted or salt_of(batch.payload) is not None:
            self.is_plain = False
        if not batch.is_redacted:
            return frame_record(
                batch.payload,
                revision=batch.revision,
                time_ns=batch.time_ns,
                durable_revision=batch.durable_revision,
                previous_digest=previous_digest,
                framing=self._framing,
            )
        frame = frame_redacted(
            batch.payload,
            revision=batch.revision,
            time_ns=batch.time_ns,
            durable_revision=batch.durable_revision,
            digest=batch.digest,
            framing=self._framing._replace(may_redact=True),
        )
        return frame, batch.digest
