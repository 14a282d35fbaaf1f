"""The bytes of the format: what is packed reads back, and nothing else does."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.engine import add, checkpoints, flip, open_store, segments

from eventstore import CorruptionError, FormatVersionError, StoreOptions
from eventstore.checkpoints.loader import load_checkpoint, verify_checkpoint
from eventstore.files.local import local_file_system
from eventstore.format.blocks import MalformedError, NewerVersionError, seal_block
from eventstore.format.checkpoint import (
    CheckpointFooter,
    CheckpointHeader,
    checkpoint_header_bytes,
    footer_bytes,
    pack_checkpoint_header,
    pack_footer,
    unpack_checkpoint_header,
    unpack_footer,
)
from eventstore.format.durable import DURABLE_BYTES, pack_durable, unpack_durable
from eventstore.format.names import (
    archive_name,
    checkpoint_name,
    parse_archive_name,
    parse_checkpoint_name,
    parse_segment_name,
    segment_name,
)
from eventstore.format.segment import (
    RECORD_ALIGNMENT_BYTES,
    SEGMENT_HEADER_BYTES,
    SegmentHeader,
    frame_record,
    pack_segment_header,
    unpack_segment_header,
)
from eventstore.log.reader import SegmentScanner, start_of
from eventstore.log.segments import (
    MemoryFile,
    SegmentSource,
    UnpackedFile,
    compress,
    inflated,
    open_source,
)
from eventstore.options import BATCH_BYTES_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

STORE_ID = bytes(range(16))
HEADER = SegmentHeader(
    STORE_ID, 7, b"\x11" * 32, 4000, 1024, 1_700_000_000_000_000_000, b"the mark"
)
FRAMING = HEADER.framing

ids = st.binary(min_size=16, max_size=16)
digests = st.binary(min_size=32, max_size=32)
caps = st.integers(0, BATCH_BYTES_LIMIT)
marks = st.just(b"") | st.lists(st.integers(1, 255), min_size=8, max_size=8).map(bytes)
uint64 = st.integers(0, 2**64 - 1)


def frame(payload: bytes, revision: int = 7, previous: bytes = b"\x11" * 32) -> bytes:
    record, _ = frame_record(
        payload,
        revision=revision,
        time_ns=5,
        durable_revision=revision - 1,
        previous_digest=previous,
        framing=FRAMING,
    )
    return record


def scan(data: bytes) -> tuple[list[bytes], str | None]:
    """Return the payloads in a segment of these record bytes, and what ended the scan."""
    file = MemoryFile("segment", pack_segment_header(HEADER) + data)
    scanner = SegmentScanner(file, HEADER, start_of(HEADER))
    payloads = [record.payload for record in scanner]
    assert scanner.end is not None
    return payloads, scanner.end.problem


@given(ids, uint64, digests, uint64, caps, uint64, marks)
def test_segment_header_reads_back(
    store_id: bytes, first: int, digest: bytes, size: int, cap: int, created_ns: int, mark: bytes
) -> None:
    header = SegmentHeader(store_id, first, digest, size, cap, created_ns, mark)
    block = pack_segment_header(header)
    assert len(block) == SEGMENT_HEADER_BYTES
    assert unpack_segment_header(block) == header


@given(ids, uint64, uint64, digests, st.binary(max_size=300))
def test_checkpoint_header_reads_back(
    store_id: bytes, revision: int, time_ns: int, digest: bytes, table_names: bytes
) -> None:
    header = CheckpointHeader(store_id, revision, time_ns, digest, table_names)
    block = pack_checkpoint_header(header)
    assert checkpoint_header_bytes(block[:100]) == len(block)
    assert unpack_checkpoint_header(block) == header


@given(st.lists(uint64, max_size=5), uint64, digests)
def test_checkpoint_footer_reads_back(counts: list[int], chunks: int, digest: bytes) -> None:
    footer = CheckpointFooter(chunks, digest, tuple(counts))
    block = pack_footer(footer)
    assert len(block) == footer_bytes(len(counts))
    assert unpack_footer(block, len(counts)) == footer


@given(ids, uint64)
def test_durable_block_reads_back(store_id: bytes, revision: int) -> None:
    block = pack_durable(store_id, revision)
    assert len(block) == DURABLE_BYTES
    assert unpack_durable(block, store_id) == revision
    assert unpack_durable(block, None) == revision


@given(st.binary(min_size=1, max_size=200))
def test_record_reads_back(payload: bytes) -> None:
    record = frame(payload)
    assert len(record) == FRAMING.record_bytes(len(payload))
    assert len(record) % RECORD_ALIGNMENT_BYTES == 0
    assert scan(record) == ([payload], None)


@given(uint64)
def test_file_names_read_back(revision: int) -> None:
    assert parse_segment_name(segment_name(revision)) == revision
    assert parse_checkpoint_name(checkpoint_name(revision)) == revision
    assert parse_archive_name(archive_name(revision)) == revision


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1.log",
        "0" * 20,
        "0" * 21 + ".log",
        "0" * 20 + ".log.tmp",
        "0" * 20 + ".log\n",
        " " + "0" * 20 + ".log",
        "-" + "0" * 19 + ".log",
        "\N{ARABIC-INDIC DIGIT ONE}" * 20 + ".log",
        "spare-1.tmp",
    ],
)
def test_other_names_are_no_segments(name: str) -> None:
    assert parse_segment_name(name) is None
    assert parse_checkpoint_name(name.replace(".log", ".ckpt")) is None
    assert parse_archive_name(name.replace(".log", ".log.gz")) is None


def test_every_prefix_of_a_segment_header_is_malformed() -> None:
    block = pack_segment_header(HEADER)
    for size in range(len(block)):
        with pytest.raises(MalformedError):
            unpack_segment_header(block[:size])


def test_every_flipped_bit_of_a_segment_header_is_malformed() -> None:
    block = pack_segment_header(HEADER)
    for bit in range(8 * len(block)):
        damaged = bytearray(block)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MalformedError):
            unpack_segment_header(bytes(damaged))


def test_every_prefix_of_a_checkpoint_header_is_malformed() -> None:
    header = CheckpointHeader(STORE_ID, 9, 5, b"\x22" * 32, b"table names")
    block = pack_checkpoint_header(header)
    for size in range(len(block)):
        with pytest.raises(MalformedError):
            checkpoint_header_bytes(block[: min(size, 80)])
        with pytest.raises(MalformedError):
            unpack_checkpoint_header(block[:size])


def test_every_flipped_byte_of_a_durable_block_is_not_relied_on() -> None:
    block = pack_durable(STORE_ID, 77)
    for size in range(len(block)):
        assert unpack_durable(block[:size], STORE_ID) is None
    for offset in range(len(block)):
        damaged = bytearray(block)
        damaged[offset] ^= 0x20
        assert unpack_durable(bytes(damaged), STORE_ID) is None


def test_durable_block_of_another_store_is_not_relied_on() -> None:
    assert unpack_durable(pack_durable(bytes(16), 77), STORE_ID) is None


def test_every_prefix_of_a_record_ends_the_scan() -> None:
    first = frame(b"first")
    _, digest = frame_record(
        b"first",
        revision=7,
        time_ns=5,
        durable_revision=6,
        previous_digest=HEADER.predecessor_digest,
        framing=FRAMING,
    )
    second = frame(b"second batch", 8, digest)
    assert scan(first + second) == ([b"first", b"second batch"], None)
    for size in range(1, len(second)):
        payloads, problem = scan(first + second[:size])
        assert payloads == [b"first"]
        assert problem is not None
        # As a preallocated segment has it: zeros to the end.
        padded = second[:size].ljust(4096, b"\0")
        if padded.startswith(second):  # only padding was missing
            continue
        payloads, problem = scan(first + padded)
        assert payloads == [b"first"]
        assert problem is not None


def test_every_flipped_byte_of_a_record_ends_the_scan() -> None:
    record = frame(b"thirteen byte")
    for offset in range(len(record)):
        damaged = bytearray(record)
        damaged[offset] ^= 0x01
        payloads, problem = scan(bytes(damaged) + bytes(256))
        assert payloads == []
        assert problem is not None


@given(st.binary(max_size=400))
def test_any_bytes_are_scanned_without_an_error(data: bytes) -> None:
    payloads, problem = scan(data)
    assert payloads == []
    assert (problem is None) == (not any(data))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"revision": 8}, "has revision 8, expected 7"),
        ({"payload": bytes(1025)}, "over the cap"),
        ({"durable_revision": 7}, "claims to have been durable"),
        ({"previous_digest": bytes(32)}, "does not continue the digest chain"),
        ({"framing": FRAMING._replace(seed=FRAMING.seed + 1)}, "fails its checksum"),
        ({"framing": FRAMING._replace(mark=b"no marks")}, "fails its checksum"),
    ],
)
def test_whole_record_that_does_not_fit_ends_the_scan(
    changes: dict[str, object], problem: str
) -> None:
    fields: dict[str, object] = {
        "payload": b"payload",
        "revision": 7,
        "time_ns": 5,
        "durable_revision": 6,
        "previous_digest": HEADER.predecessor_digest,
        "framing": FRAMING,
    } | changes
    payload = fields.pop("payload")
    record, _ = frame_record(payload, **fields)  # type: ignore[arg-type]
    payloads, found = scan(record)
    assert payloads == []
    assert found is not None
    assert problem in found


def test_record_older_than_its_predecessor_ends_the_scan() -> None:
    record, digest = frame_record(
        b"new",
        revision=7,
        time_ns=500,
        durable_revision=6,
        previous_digest=HEADER.predecessor_digest,
        framing=FRAMING,
    )
    older = frame(b"old", 8, digest)
    assert scan(record + older) == ([b"new"], "the record is older than the one before it")


def newer(block: bytes) -> bytes:
    """Return a sealed block with the next format version under a good checksum."""
    fields = bytearray(block[:-4])
    version = int.from_bytes(fields[8:12], "little")
    fields[8:12] = (version + 1).to_bytes(4, "little")
    return seal_block(bytes(fields), len(block))


def test_newer_version_is_told_from_damage() -> None:
    with pytest.raises(NewerVersionError):
        unpack_segment_header(newer(pack_segment_header(HEADER._replace(may_redact=True))))
    checkpoint = CheckpointHeader(STORE_ID, 9, 5, b"\x22" * 32, b"table names")
    with pytest.raises(NewerVersionError):
        unpack_checkpoint_header(newer(pack_checkpoint_header(checkpoint)))
    footer = CheckpointFooter(1, b"\x33" * 32, (4,))
    with pytest.raises(NewerVersionError):
        unpack_footer(newer(pack_footer(footer)), 1)
    with pytest.raises(NewerVersionError):
        unpack_durable(newer(pack_durable(STORE_ID, 3)), STORE_ID)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    with open_store(tmp_path / "store") as store:
        add(store, 3)
        store.checkpoint()
    [path] = checkpoints(tmp_path / "store")
    return path


def test_every_prefix_of_a_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    whole = checkpoint.read_bytes()
    cut = tmp_path / "cut"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        with pytest.raises(CorruptionError):
            load_checkpoint(local_file_system(), str(cut))


def test_every_flipped_byte_of_a_checkpoint_is_refused(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for offset in range(len(whole)):
        flip(checkpoint, offset)
        with pytest.raises(CorruptionError):
            load_checkpoint(local_file_system(), str(checkpoint))
        with pytest.raises(CorruptionError):
            verify_checkpoint(local_file_system(), str(checkpoint))
        flip(checkpoint, offset)
    load_checkpoint(local_file_system(), str(checkpoint))


def test_bytes_after_the_end_of_a_checkpoint_are_refused(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes() + bytes(8))
    with pytest.raises(CorruptionError):
        load_checkpoint(local_file_system(), str(checkpoint))


def test_checkpoint_of_a_newer_version_is_told_from_damage(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    size = checkpoint_header_bytes(whole[:100])
    checkpoint.write_bytes(newer(whole[:size]) + whole[size:])
    with pytest.raises(FormatVersionError) as refusal:
        load_checkpoint(local_file_system(), str(checkpoint))
    assert (refusal.value.found_version, refusal.value.known_version) == (3, 2)


def test_an_archive_file_is_read_like_its_content_in_any_order() -> None:
    draw = random.Random(1)
    content = draw.randbytes(300_000) + bytes(9_000_000) + draw.randbytes(2_000_000)
    file = UnpackedFile(MemoryFile("archived", compress(content)), inflated)
    assert file.size_bytes() == len(content)
    for _ in range(60):
        start, size = draw.randrange(len(content) + 10), draw.choice((1, 80, 100_000, 2**21, 2**24))
        assert file.read(start, size) == content[start : start + size]
    assert file.read(0, len(content) + 1) == content


def test_every_prefix_and_flipped_byte_of_an_archive_file_is_refused(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        add(store, 2)
    [segment] = segments(tmp_path / "store")
    whole = compress(segment.read_bytes()[:1024])
    path = tmp_path / "copy.gz"
    source = SegmentSource(1, str(path), is_archived=True)
    path.write_bytes(whole)
    file = open_source(local_file_system(), source)
    assert file.read(0, 2048) == segment.read_bytes()[:1024]
    damaged = [whole[:size] for size in range(len(whole))]
    damaged += [whole + b"x", whole + whole]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CorruptionError):
            open_source(local_file_system(), source)
    for offset in range(len(whole)):
        path.write_bytes(whole)
        flip(path, offset)
        try:
            content = open_source(local_file_system(), source).read(0, 2048)
        except CorruptionError:
            continue
        # The time and the operating system in gzip's header say nothing about the content.
        assert offset in range(4, 10)
        assert content == segment.read_bytes()[:1024]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("segment_bytes", 4095),
        ("segment_bytes", 2 * 1024**3),
        ("batch_bytes_max", 1023),
        ("batch_bytes_max", 1024**3 + 1),
        ("checkpoint_after_bytes", 0),
        ("checkpoint_after_batches", 0),
    ],
)
def test_options_that_can_not_work_are_refused(field: str, value: int) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(StoreOptions(), **changed)
