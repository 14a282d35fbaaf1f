"""A scan says what is wrong with the first record that is not the next one, and why."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest

from eventstore import CorruptionError
from eventstore.format.segment import (
    RECORD_HEADER_BYTES,
    SEGMENT_BYTES_LIMIT,
    SegmentHeader,
    frame_record,
    genesis_digest,
    pack_segment_header,
)
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import MemoryFile

STORE_ID = bytes(range(16))
GENESIS = genesis_digest(STORE_ID)
CAP = 64
HEADER = SegmentHeader(STORE_ID, 1, GENESIS, 0, CAP, 0, b"the mark")
FRAMING = HEADER.framing


def record(payload: bytes = b"payload", **fields: int) -> bytes:
    """Return a record that is right in itself, whatever its fields are."""
    frame, _ = frame_record(
        payload,
        **{"revision": 1, "time_ns": 5, "durable_revision": 0, **fields},
        previous_digest=GENESIS,
        framing=FRAMING,
    )
    return frame


def resealed(frame: bytes) -> bytes:
    """Return a record whose header checksum is right again."""
    unsealed = frame[: RECORD_HEADER_BYTES - 4]
    return unsealed + struct.pack("<I", crc32(unsealed, FRAMING.seed)) + frame[len(unsealed) + 4 :]


def with_byte(frame: bytes, offset: int) -> bytes:
    return frame[:offset] + bytes([frame[offset] ^ 1]) + frame[offset + 1 :]


def reason(body: bytes) -> str | None:
    file = MemoryFile("segment", pack_segment_header(HEADER) + body)
    scanner = SegmentScanner(file, read_segment_header(file), start_of(HEADER))
    assert sum(1 for _ in scanner) in {0, 1}
    assert scanner.end is not None
    return scanner.end.problem


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (with_byte(record(), 0), "a record header fails its checksum"),
        (with_byte(record(), 8), "a record header fails its checksum"),
        (with_byte(record(), RECORD_HEADER_BYTES), "the payload fails its checksum"),
        (with_byte(record(), len(record()) - 1), "the padding of a record is not zero"),
        (resealed(with_byte(record(), 48)), "the record does not continue the digest chain"),
        (record(revision=2), "the record has revision 2, expected 1"),
        (record(bytes(CAP + 1)), f"the payload of {CAP + 1} bytes is over the cap of {CAP}"),
        (record() + record(revision=2, time_ns=4), "the record is older than the one before it"),
        (record(durable_revision=1), "the record claims to have been durable before"),
        (record()[:-8], "the file ends inside a record"),
        (record()[:40], "the file ends inside a record header"),
        (
            bytes(RECORD_HEADER_BYTES) + record(),
            "a record header is zero although bytes follow it",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
def test_reason_names_what_is_wrong(body: bytes, said: str) -> None:
    problem = reason(body)
    assert problem is not None
    assert problem.startswith(said)


@pytest.mark.parametrize(
    "body",
    [b"", bytes(4096), record(), record() + bytes(4096)],
    ids=["nothing", "zeros", "a record", "a record and zeros"],
)
def test_zeros_behind_the_last_record_are_no_problem(body: bytes) -> None:
    assert reason(body) is None


def test_a_file_longer_than_any_segment_is_no_segment_whatever_its_header_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = MemoryFile("segment", pack_segment_header(HEADER))
    assert read_segment_header(file) == HEADER
    monkeypatch.setattr(MemoryFile, "size_bytes", lambda self: SEGMENT_BYTES_LIMIT + 1)
    with pytest.raises(CorruptionError, match="longer than any segment"):
        read_segment_header(file)
