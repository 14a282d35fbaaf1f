"""What is fuzzed: every reader of bytes or text that others may have made.

A target takes arbitrary bytes and returns, unless it has found a bug: an error that is not
documented, an answer where the bytes must have been refused, or a breach of the limits that the
fuzzer sets (memory, time). Most structures are under checksums, which a fuzzer does not guess, so
each has a second target that makes the checksums right for whatever the bytes are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
from typing import TYPE_CHECKING
from zlib import crc32

from fuzz.files import STORE_ID, BytesFileSystem, FilesFileSystem, FuzzedFile
from fuzz.statements import (
    key_text,
    leaves,
    proof,
    receipt,
    request,
    sealed_leaves,
    signed_proof,
)
from support.bolt_builder import repair_checksums

from eventstore.checkpoints.chains import CheckpointFile
from eventstore.checkpoints.loader import CheckpointLoader
from eventstore.checkpoints.reader import read_part
from eventstore.checkpoints.rung_writer import packed_rung, rung_state
from eventstore.checkpoints.rungs import RungLoader, RungState
from eventstore.copies.loading import DumpReader
from eventstore.errors import CorruptionError, DumpError, FormatVersionError
from eventstore.format.blocks import MalformedError, NewerVersionError
from eventstore.format.checkpoint import (
    CheckpointFooter,
    CheckpointHeader,
    pack_checkpoint_header,
    pack_chunk,
    pack_delta_chunk,
    pack_ends,
    pack_footer,
)
from eventstore.format.codec import DecodeError, decode_batch, pack, unpack_row
from eventstore.format.durable import unpack_durable
from eventstore.format.index import IndexHeader, pack_index
from eventstore.format.manifest import pack_manifest, unpack_manifest
from eventstore.format.rung import Chunk, Seen, pack_rung
from eventstore.format.segment import (
    SEGMENT_HEADER_BYTES,
    RecordHeader,
    SegmentHeader,
    genesis_digest,
    pack_segment_header,
    record_digest,
    record_seed,
)
from eventstore.log.reader import (
    SegmentScanner,
    read_segment_header,
    start_of,
)
from eventstore.log.redaction import is_path, redacted, redactions_in
from eventstore.log.search import highest_durable_claim, read_record
from eventstore.log.segments import SegmentSource, open_places, open_source
from eventstore.log.stretches import UNKNOWN, SegmentStretches
from eventstore.past.packed import PackedIndex
from projections.snapshots import Info, InvalidArgumentError, Kind, parse_filters
from projections.snapshots.boltfile import BoltFormatError
from projections.snapshots.containerd_db import read_snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = record_seed(STORE_ID)
MARK = b"the mark"
ERASED_PATHS = (("actor",), ("reason",), ("request_id",), ("data", "labels", "owner"))
BASE = CheckpointFile(1, None, "base")
DELTA = CheckpointFile(2, 1, "delta")
ROOT = CheckpointFile(1, None, "root", is_rung=True)
RUNG = CheckpointFile(2, 1, "rung", is_rung=True)
INFO = Info("a/b", "p", Kind.ACTIVE, {"containerd.io/gc": "x", "empty": "y"}, 1, 2)


def _base() -> bytes:
    """Return a base of two tables, the second of which is empty."""
    names = pack([["a", 1, "a"], ["a", 1, "b"]])
    content = pack_checkpoint_header(CheckpointHeader(STORE_ID, 1, 0, bytes(32), names))
    keys, values = ["a", "b", "c"], [pack(1), pack("two"), pack(3)]
    parts = (pack(keys[0]), pack(keys), pack_ends(values), b"".join(values))
    content += pack_chunk(0, len(keys), parts, SEED)
    footer = CheckpointFooter(1, hashlib.sha256(content).digest(), (len(keys), 0))
    return content + pack_footer(footer)


BASE_CONTENT = _base()


def _root() -> tuple[bytes, RungState]:
    """Return the rung of that base, packed against nothing."""
    base = CheckpointLoader(FilesFileSystem({BASE.path: BASE_CONTENT}), [BASE]).load(1)
    state = rung_state(base)
    return packed_rung(state, None).content, state


ROOT_CONTENT, ROOT_STATE = _root()


def batch(data: bytes) -> None:
    """The payload of a record, and a row of a checkpoint."""
    with contextlib.suppress(DecodeError):
        decode_batch(data)
    with contextlib.suppress(DecodeError):
        unpack_row(data)


def erasure(data: bytes) -> None:
    """A batch that may name an erasure, and of which texts are erased."""
    try:
        _, events = decode_batch(data)
    except DecodeError:
        return
    for each in redactions_in(events):
        if not all(is_path(path) for path in each.paths):
            raise AssertionError(f"{each} names what is no place")
    try:
        left, _ = redacted(data, ERASED_PATHS)
    except ValueError:
        return
    decode_batch(left)
    again, found = redacted(left, ERASED_PATHS)
    if len(left) != len(data) or found or again != left:
        raise AssertionError("an erasure has moved what is behind it, or left some of it")


def durable(data: bytes) -> None:
    """The `durable` file."""
    with contextlib.suppress(NewerVersionError):
        unpack_durable(data, STORE_ID)
    with contextlib.suppress(NewerVersionError):
        unpack_durable(data, None)


def segment(data: bytes) -> None:
    """A segment, its header included."""
    file = FuzzedFile(data)
    try:
        header = read_segment_header(file)
    except (CorruptionError, FormatVersionError):
        return
    scanner = SegmentScanner(file, header, start_of(header))
    revision = header.first_revision - 1
    for record in scanner:
        revision += 1
        if record.revision != revision or len(record.payload) > header.batch_bytes_max:
            raise AssertionError(f"{record} follows revision {revision - 1}")
    if scanner.end is None:
        raise AssertionError("the scan has not ended")
    claim = highest_durable_claim(file, header, scanner.end.position)
    if scanner.end.problem is None and claim:
        raise AssertionError("records behind a clean end")
    for content in (data, bytes(SEGMENT_HEADER_BYTES) + data[512:]):
        salvage(content, header.store_id)


def salvage(data: bytes, store_id: bytes) -> None:
    """Look for everything in a segment that holds: each run can be read again."""
    file = FuzzedFile(data)
    source = SegmentSource(1, "fuzzed", is_archived=False)
    found = SegmentStretches(source, file, lambda record: True)
    found.read(store_id)
    for stretch in found.stretches:
        if stretch.start.digest == UNKNOWN:
            record = read_record(file, stretch.header, stretch.start.offset_bytes)
            revision = record.revision if record else None
        else:
            scanner = SegmentScanner(file, stretch.header, stretch.start)
            revision = max([stretch.start.revision, *(record.revision for record in scanner)])
        if revision is None or revision < stretch.end.revision:
            raise AssertionError(f"{stretch} ends at {revision} when it is read again")


def sealed_segment(data: bytes) -> None:
    """Records with right checksums and digests, but whatever revision, time and length."""
    for mark, may_redact in ((MARK, False), (MARK, True), (b"", False)):
        _sealed_segment(data, mark, may_redact=may_redact)


def _sealed_segment(data: bytes, mark: bytes, *, may_redact: bool) -> None:
    header = SegmentHeader(STORE_ID, 1, genesis_digest(STORE_ID), 0, 4096, 0, mark, may_redact)
    parts = [pack_segment_header(header)]
    digest = header.predecessor_digest
    while len(data) >= 32:
        length, _, revision, time_ns, durable_revision = struct.unpack("<IIQQQ", data[:32])
        payload = data[32 : 32 + length % 128]
        stated = length if length % 7 == 0 else len(payload)
        fields = RecordHeader(
            stated, crc32(payload, SEED), revision % 16, time_ns, durable_revision % 16, b""
        )
        digest = record_digest(fields, payload, digest)
        digested = struct.pack("<IIQQQ", *fields[:5])
        # Of a redacted record the digest is whatever it states: that of the bytes, as good as any.
        unsealed = mark + digested + digest + struct.pack("<I", may_redact and length % 3)
        head = unsealed + struct.pack("<I", crc32(unsealed, SEED))
        parts.append((head + payload).ljust(header.framing.record_bytes(len(payload)), b"\0"))
        data = data[32 + len(payload) :]
    segment(b"".join(parts) + data)


def checkpoint(data: bytes) -> None:
    """A checkpoint; if it is taken for a good one, every row can be read."""
    try:
        loaded = read_part(BytesFileSystem(data), "fuzzed", with_digest=True)
    except (CorruptionError, FormatVersionError):
        return
    for _, rows in loaded.tables:
        for key, value in rows.slice(None, None, rows.row_count + 1, inclusive=True):
            if rows.get(key) != value:
                raise AssertionError(f"the row of {key!r} is not found")


def sealed_checkpoint(data: bytes) -> None:
    """Chunks with right checksums, and a footer with the right digest, around whatever rows."""
    for content in _sealed_checkpoints(data, None):
        checkpoint(content)


def delta(data: bytes) -> None:
    """A delta over a base; if it is taken for a good one, every row can be read."""
    files = {BASE.path: BASE_CONTENT, DELTA.path: data}
    try:
        loaded = CheckpointLoader(FilesFileSystem(files), [BASE, DELTA]).load(2)
    except (CorruptionError, FormatVersionError):
        return
    for _, rows in loaded.tables:
        read = list(rows.items())
        if [key for key, _ in read] != sorted(key for key, _ in read):
            raise AssertionError("the rows are not in order")
        for key, value in read:
            if rows.get(key) != value or not value:
                raise AssertionError(f"the row of {key!r} is not found")


def sealed_delta(data: bytes) -> None:
    """The same with right checksums and digest around whatever rows, of the base's tables."""
    names = pack([["a", 1, "a"], ["a", 1, "b"]])
    for content in _sealed_checkpoints(bytes([len(names)]) + names + data, (1, bytes(32))):
        delta(content)


def rung(data: bytes) -> None:
    """A rung on another one; if it is taken for a good one, every row can be read."""
    files = {ROOT.path: ROOT_CONTENT, RUNG.path: data}
    try:
        loader = RungLoader(FilesFileSystem(files), [ROOT, RUNG], checks_rows=True)
        loaded = loader.load_by(RUNG)
    except (CorruptionError, FormatVersionError):
        return
    for _, rows in loaded.tables:
        for key, value in rows.items():
            if rows.get(key) != value:
                raise AssertionError(f"the row of {key!r} is not found")


def sealed_rung(data: bytes) -> None:
    """The same with right checksums and lengths around whatever chunks, on whatever others."""
    names = ROOT_STATE.header.table_names
    header = CheckpointHeader(STORE_ID, 2, 0, bytes(32), names, (1, bytes(32)))
    chunks: list[list[Chunk]] = [[], []]
    seen: list[list[Seen]] = [[], []]
    while len(data) >= 6:
        table = data[0] % 2
        seen[table].append(Seen(data[1] % 3, data[2] % 3))
        body = data[6 : 6 + data[5] % 64]
        chunks[table].append(Chunk(data[0] // 2 % 8, data[3] % 16, data[4] % 32, body))
        data = data[6 + len(body) :]
    rung(
        pack_rung(
            header,
            chunks,
            ROOT_STATE.tables,
            lambda table, number: seen[table][number],
            lambda: None,
        )
    )


def _sealed_checkpoints(data: bytes, previous: tuple[int, bytes] | None) -> Iterator[bytes]:
    table_names_bytes = data[0] if data else 0
    table_names, data = data[1 : 1 + table_names_bytes], data[1 + table_names_bytes :]
    revision = 1 if previous is None else 2
    header = CheckpointHeader(STORE_ID, revision, 0, bytes(32), table_names, previous)
    content = pack_checkpoint_header(header)
    counts, chunk_count = [0, 0], 0
    while len(data) >= 6:
        table, row_count = data[0] % 2, data[1] % 8
        bounds = [size % 32 for size in data[2:5]]
        parts, data = [], data[5:]
        for size in (*bounds, 4 * row_count):
            parts.append(data[:size])
            data = data[size:]
        first_key, keys, values, ends = parts
        if len(ends) < 4 * row_count:
            break
        pack_one = pack_chunk if previous is None else pack_delta_chunk
        content += pack_one(table, row_count, (first_key, keys, ends, values), SEED)
        counts[table] += row_count
        chunk_count += 1
    for tables in (1, 2):
        footer = CheckpointFooter(
            chunk_count, hashlib.sha256(content).digest(), tuple(counts[:tables])
        )
        yield content + pack_footer(footer)


def archive(data: bytes) -> None:
    """An archived segment, read through, and here and there."""
    source = SegmentSource(1, "fuzzed", is_archived=True)
    file_system = BytesFileSystem(data)
    whole = None
    with contextlib.suppress(CorruptionError, FormatVersionError):
        file = open_source(file_system, source)
        whole = file.read(0, file.size_bytes())
    try:
        places = open_places(file_system, source)
        part = places.read(700, 100)
    except (CorruptionError, FormatVersionError):
        return
    if whole is not None and part != whole[700:800]:
        raise AssertionError("a place is read otherwise than all of it")


def index(data: bytes) -> None:
    """The index of a segment."""
    try:
        found = PackedIndex(lambda: FuzzedFile(data))
        for number in (0, 1, 2**36 - 1):
            found.offsets(number)
        anchors = found.anchors(0, 300)
        found.last_not_after(2**63)
        postings = list(found.postings())
    except (MalformedError, NewerVersionError):
        return
    if len(data) < 8 * (len(postings) + 2 * len(anchors)):
        raise AssertionError("an index holds more than its bytes")


def sealed_index(data: bytes) -> None:
    """An index with right checksums, of whatever numbers and revisions."""
    first, last, data = data[:1], data[1:3], data[3:]
    numbers = [*struct.unpack(f"<{len(data) // 8}Q", data[: len(data) // 8 * 8])]
    first_revision = 1 + int.from_bytes(first, "little")
    last_revision = int.from_bytes(last, "little")
    header = IndexHeader(STORE_ID, first_revision, last_revision, 0, bytes(32), (("p", 1),))
    half = len(numbers) // 2
    anchors = [(each, each) for each in numbers[:half]]
    index(pack_index(header, anchors, numbers[half:]))


def manifest(data: bytes) -> None:
    """The manifest of a backup."""
    with contextlib.suppress(MalformedError, NewerVersionError):
        if pack_manifest(unpack_manifest(data)) != data:
            raise AssertionError("a manifest that nobody writes was read")


def sealed_manifest(data: bytes) -> None:
    """A manifest with a right checksum, whatever it says."""
    digest = hashlib.sha256(data).hexdigest().encode()
    manifest(data[:-1] + b',"sha256":"' + digest + b'"}\n')


def dump(data: bytes) -> None:
    """A dump, to be loaded."""
    with contextlib.suppress(DumpError):
        _, batches = DumpReader(io.BytesIO(data), 1 << 20).begin(lambda revision: None)
        for each in batches:
            decode_batch(each.payload)


def bolt(data: bytes) -> None:
    """A containerd database."""
    with contextlib.suppress(BoltFormatError):
        read_snapshots(data)


def sealed_bolt(data: bytes) -> None:
    """A containerd database whose meta pages have right checksums."""
    if len(data) < 2 * 4096:
        return
    mended = bytearray(data)
    repair_checksums(mended)
    bolt(bytes(mended))


def filters(data: bytes) -> None:
    """A filter, and the predicate that it becomes."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        predicate = parse_filters(text)
    except InvalidArgumentError:
        return
    if predicate(INFO) not in (True, False):
        raise AssertionError("a predicate without an answer")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        batch,
        erasure,
        durable,
        segment,
        sealed_segment,
        checkpoint,
        sealed_checkpoint,
        delta,
        sealed_delta,
        rung,
        sealed_rung,
        archive,
        index,
        sealed_index,
        manifest,
        sealed_manifest,
        dump,
        bolt,
        sealed_bolt,
        filters,
        leaves,
        sealed_leaves,
        proof,
        signed_proof,
        key_text,
        receipt,
        request,
    )
}
