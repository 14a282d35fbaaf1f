"""FORMAT.md's worked example is a real segment."""

from __future__ import annotations

import re
from pathlib import Path

import eventstore
from eventstore.event import Event, Metadata
from eventstore.format.codec import decode_batch
from eventstore.format.segment import SEGMENT_HEADER_BYTES, SegmentHeader, genesis_digest
from eventstore.log.reader import SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import MemoryFile

DOCUMENT = Path(eventstore.__file__).parent / "FORMAT.md"


def example_bytes() -> bytes:
    rows = re.findall(r"^([0-9a-f]{8})  ((?:[0-9a-f]{2} ?){16})$", DOCUMENT.read_text(), re.M)
    data = bytearray()
    for offset, row in rows:
        data.extend(bytes(int(offset, 16) - len(data)))
        data.extend(bytes.fromhex(row))
    return bytes(data)


def test_worked_example_reads_back() -> None:
    file = MemoryFile("FORMAT.md", example_bytes() + bytes(4096))
    header = read_segment_header(file)
    assert header == SegmentHeader(
        store_id=bytes(range(16)),
        first_revision=1,
        predecessor_digest=genesis_digest(bytes(range(16))),
        predecessor_bytes=0,
        batch_bytes_max=16 * 1024 * 1024,
        created_ns=1_700_000_000_000_000_000,
        mark=bytes.fromhex("a1b2c3d4e5f60718"),
    )
    scanner = SegmentScanner(file, header, start_of(header))
    [record] = list(scanner)
    assert scanner.end is not None
    assert scanner.end.problem is None
    assert (record.revision, record.time_ns) == (1, 1_700_000_000_500_000_000)
    assert decode_batch(record.payload) == (
        Metadata("puller", "unpack web", None),
        (Event("counter.added", {"by": 2}),),
    )


def test_every_byte_of_the_example_matters() -> None:
    whole = example_bytes()
    for offset in range(len(whole)):
        damaged = bytearray(whole)
        damaged[offset] ^= 0x10
        file = MemoryFile("FORMAT.md", bytes(damaged) + bytes(4096))
        try:
            header = read_segment_header(file)
        except eventstore.CorruptionError:
            continue
        assert offset >= SEGMENT_HEADER_BYTES
        assert list(SegmentScanner(file, header, start_of(header))) == []
