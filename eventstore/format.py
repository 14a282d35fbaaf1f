"""The bytes on disk: constants, structs, checksums and file names.

No other module packs, unpacks or measures a structure of the format, and none builds or parses
a file name. Everything here is a pure function of its arguments. FORMAT.md describes the same
layout in prose, with a worked example that a test reads back.

Integers are little-endian. Every checksum is CRC-32 (zlib's); those of records are seeded with
the store id, so that a record of another store never passes for one of this store.
"""

from __future__ import annotations

import hashlib
import re
import struct
import sys
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SEGMENT_VERSION = 2
CHECKPOINT_VERSION = 1
DURABLE_VERSION = 1
"""The version of each kind of file that is written; it and every older one is read."""

STORE_ID_BYTES = 16

LOCK_NAME = "LOCK"
WAL_NAME = "wal"
CHECKPOINTS_NAME = "checkpoints"
ARCHIVE_NAME = "archive"
TORN_NAME = "torn"
DURABLE_NAME = "durable"
MAKING_NAME = "MAKING"
TEMPORARY_SUFFIX = ".tmp"
_DETACHED_SUFFIX = ".detached.jsonl"
DIRECTORY_NAMES = (WAL_NAME, CHECKPOINTS_NAME, ARCHIVE_NAME, TORN_NAME)

BATCH_BYTES_DEFAULT = 16 * 1024 * 1024
"""The cap on an encoded batch unless the options say otherwise."""
BATCH_BYTES_LIMIT = 1024 * 1024 * 1024
"""No cap is higher; a header that states one is damaged."""

_SEGMENT_NAME = re.compile(r"([0-9]{20})\.log")
_CHECKPOINT_NAME = re.compile(r"([0-9]{20})\.ckpt")
_ARCHIVE_NAME = re.compile(r"([0-9]{20})\.log\.gz")

_SEGMENT_MAGIC = b"EVSTWAL\0"
_SEGMENT_HEADER = struct.Struct("<8sII16sQQQ32s8s")
SEGMENT_HEADER_BYTES = 512
"""One sector, so that a torn write of the first record can't reach the header."""

_RECORD_DIGESTED = struct.Struct("<IIQQQ")
_RECORD_HEADER = struct.Struct("<IIQQQ32sII")
_RECORD_HEADER_BYTES = 72
MARK_BYTES = 8
RECORD_HEADER_BYTES = MARK_BYTES + _RECORD_HEADER_BYTES
"""Of a record as it is written now; one of version 1 has no mark."""
RECORD_ALIGNMENT_BYTES = 8
SEGMENT_BYTES_LIMIT = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES + BATCH_BYTES_LIMIT
"""No segment is longer: `StoreOptions` allows 1 GiB, and a larger one holds a single record."""

_DURABLE = struct.Struct("<8sI16sQI")
_DURABLE_MAGIC = b"EVSTDUR\0"
DURABLE_BYTES = 40

_CHECKPOINT_MAGIC = b"EVSTCKP\0"
_CHECKPOINT_HEADER = struct.Struct("<8sII16sQQ32s")
CHECKPOINT_HEADER_BYTES_MIN = _CHECKPOINT_HEADER.size + 4
CHECKPOINT_HEADER_BYTES_MAX = 1024 * 1024
_CHUNK_HEADER = struct.Struct("<IIIIII")
CHUNK_HEADER_BYTES = 24
_FOOTER_MAGIC = b"EVSTCKF\0"
_FOOTER = struct.Struct("<8sIIQ32s")
_ROW_COUNT = struct.Struct("<Q")

_UINT32 = struct.Struct("<I")
_UINT32_ARRAY_CODE = "I"

if (
    _RECORD_HEADER.size != _RECORD_HEADER_BYTES
    or RECORD_HEADER_BYTES % RECORD_ALIGNMENT_BYTES
    or MARK_BYTES % RECORD_ALIGNMENT_BYTES
    or _DURABLE.size != DURABLE_BYTES
    or _CHUNK_HEADER.size != CHUNK_HEADER_BYTES
    or _SEGMENT_HEADER.size + _UINT32.size > SEGMENT_HEADER_BYTES
):  # pragma: no cover
    raise ImportError("the structs of the on-disk format have the wrong sizes")


class MalformedError(Exception):
    """Bytes that are not what the format says; the caller knows the path and what it means."""

    def __init__(self, offset_bytes: int, reason: str) -> None:
        super().__init__(f"at byte {offset_bytes}: {reason}")
        self.offset_bytes = offset_bytes
        self.reason = reason


class NewerVersionError(Exception):
    """A well-formed header of a format version that is newer than the one known here."""

    def __init__(self, found_version: int, known_version: int) -> None:
        super().__init__(f"format version {found_version}")
        self.found_version = found_version
        self.known_version = known_version


class SegmentHeader(NamedTuple):
    """The first sector of a segment.

    Attributes:
        store_id: 16 random bytes, drawn when the store was made.
        first_revision: revision of the segment's first record.
        predecessor_digest: chain digest of revision `first_revision - 1`.
        predecessor_bytes: where the records of the preceding segment end; 0 for the first one.
        batch_bytes_max: the cap on payloads that writer and reader of this segment keep.
        created_ns: when the segment came into use.
        mark: what every record starts with and no payload holds; empty in a segment of version 1.
    """

    store_id: bytes
    first_revision: int
    predecessor_digest: bytes
    predecessor_bytes: int
    batch_bytes_max: int
    created_ns: int
    mark: bytes = b""

    @property
    def framing(self) -> Framing:
        """How the records of the segment are framed."""
        return Framing(record_seed(self.store_id), self.mark)


class Framing(NamedTuple):
    """What the records of a segment have in common.

    Attributes:
        seed: of their checksums.
        mark: that each starts with; empty in a segment of version 1.
    """

    seed: int
    mark: bytes

    @property
    def header_bytes(self) -> int:
        """Length of a record's header."""
        return len(self.mark) + _RECORD_HEADER_BYTES

    def record_bytes(self, payload_bytes: int) -> int:
        """Return the length of a whole record with a payload of that length."""
        return len(self.mark) + _RECORD_HEADER_BYTES + padded_bytes(payload_bytes)


class RecordHeader(NamedTuple):
    """The fixed part of a record, its checksum already verified.

    Attributes:
        payload_bytes: length of the payload, without padding.
        payload_crc: checksum of the payload.
        revision: of the batch.
        time_ns: nanoseconds since the epoch, never less than the record before.
        durable_revision: the highest revision known to be durable when this was framed.
        digest: chain digest of the batch.
    """

    payload_bytes: int
    payload_crc: int
    revision: int
    time_ns: int
    durable_revision: int
    digest: bytes


class CheckpointHeader(NamedTuple):
    """The first block of a checkpoint.

    Attributes:
        store_id: of the store.
        revision: that the rows are the state at.
        time_ns: of that revision's batch; 0 at revision 0.
        digest: chain digest at that revision.
        table_names: what the tables are, packed.
    """

    store_id: bytes
    revision: int
    time_ns: int
    digest: bytes
    table_names: bytes


class ChunkHeader(NamedTuple):
    """What stands before a chunk of rows: the lengths of its four parts.

    The parts are the packed first key, all keys packed as one array, for each row the 32-bit end
    of its value, and the packed values.
    """

    table: int
    row_count: int
    first_key_bytes: int
    keys_bytes: int
    values_bytes: int
    crc: int

    @property
    def body_bytes(self) -> int:
        """Length of the four parts together."""
        ends_bytes = _UINT32.size * self.row_count
        return self.first_key_bytes + self.keys_bytes + ends_bytes + self.values_bytes


class CheckpointFooter(NamedTuple):
    """The last block of a checkpoint.

    Attributes:
        chunk_count: of the file.
        digest: SHA-256 of all bytes before the footer.
        row_counts: of each table.
    """

    chunk_count: int
    digest: bytes
    row_counts: tuple[int, ...]


def segment_name(first_revision: int) -> str:
    """Return the file name of the segment that starts with a revision."""
    return f"{first_revision:020d}.log"


def checkpoint_name(revision: int) -> str:
    """Return the file name of the checkpoint at a revision."""
    return f"{revision:020d}.ckpt"


def archive_name(first_revision: int) -> str:
    """Return the file name of the archived segment that starts with a revision."""
    return f"{first_revision:020d}.log.gz"


def spare_name(number: int) -> str:
    """Return the temporary name of a preallocated file that is no segment yet."""
    return f"spare-{number}{TEMPORARY_SUFFIX}"


def damaged_name(name: str) -> str:
    """Return the name under which a file is set aside that can't be used."""
    return name + ".damaged"


def torn_name(revision: int, offset_bytes: int, taken: int = 0) -> str:
    """Return the file name for bytes cut where a record of `revision` would have started.

    Args:
        revision: that the record would have had.
        offset_bytes: where it would have started.
        taken: how many names for that place are taken by earlier cuts.
    """
    return f"{revision:020d}-{offset_bytes}.torn{'+' * taken}"


def beside(path: str) -> str:
    """Return the path of the file next to a new store, for batches that have no place in it."""
    return path + _DETACHED_SUFFIX


def parse_segment_name(name: str) -> int | None:
    """Return the first revision that a segment's name states; None for another name."""
    match = _SEGMENT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def parse_checkpoint_name(name: str) -> int | None:
    """Return the revision that a checkpoint's name states; None for another name."""
    match = _CHECKPOINT_NAME.fullmatch(name)
    return int(match[1]) if match else None


def parse_archive_name(name: str) -> int | None:
    """Return the first revision that an archive file's name states; None for another name."""
    match = _ARCHIVE_NAME.fullmatch(name)
    return int(match[1]) if match else None


def record_seed(store_id: bytes) -> int:
    """Return the seed of the checksums in the records of a store."""
    return crc32(store_id)


def genesis_digest(store_id: bytes) -> bytes:
    """Return the chain digest of revision 0, the store without a batch."""
    return hashlib.sha256(b"eventstore genesis\0" + store_id).digest()


def pack_segment_header(header: SegmentHeader) -> bytes:
    """Return the first `SEGMENT_HEADER_BYTES` of a segment."""
    fields = _SEGMENT_HEADER.pack(
        _SEGMENT_MAGIC,
        SEGMENT_VERSION if header.mark else 1,
        header.batch_bytes_max,
        header.store_id,
        header.first_revision,
        header.predecessor_bytes,
        header.created_ns,
        header.predecessor_digest,
        header.mark,
    )
    return seal_block(fields, SEGMENT_HEADER_BYTES)


def unpack_segment_header(block: bytes) -> SegmentHeader:
    """Return the header in the first sector of a segment.

    Raises:
        MalformedError: the bytes are not a segment header.
        NewerVersionError: they are one of a newer format.
    """
    version = check_block(
        block, SEGMENT_HEADER_BYTES, _SEGMENT_MAGIC, SEGMENT_VERSION, "segment header"
    )
    _, _, batch_bytes_max, store_id, first_revision, predecessor_bytes, created_ns, digest, mark = (
        _SEGMENT_HEADER.unpack_from(block)
    )
    if batch_bytes_max > BATCH_BYTES_LIMIT:
        raise MalformedError(12, f"the segment header allows payloads of {batch_bytes_max} bytes")
    if version == 1:
        mark = b""
    elif 0 in mark:
        raise MalformedError(88, "the mark in the segment header holds a zero")
    return SegmentHeader(
        store_id, first_revision, digest, predecessor_bytes, batch_bytes_max, created_ns, mark
    )


def seal_block(fields: bytes, block_bytes: int) -> bytes:
    """Pad fields with zeros to a block that ends in the checksum of all before it."""
    body = fields.ljust(block_bytes - _UINT32.size, b"\0")
    return body + _UINT32.pack(crc32(body))


def check_block(block: bytes, block_bytes: int, magic: bytes, known_version: int, what: str) -> int:
    """Check magic, checksum and version of a block made by `seal_block`; return the version.

    The version is the 4 bytes after the magic. It is believed only under a good checksum, so
    that a flipped bit is not mistaken for a newer release.

    Raises:
        MalformedError: it is not such a block.
        NewerVersionError: it is one of a newer format.
    """
    if len(block) != block_bytes:
        raise MalformedError(0, f"{what} is cut short: {len(block)} of {block_bytes} bytes")
    if block[: len(magic)] != magic:
        raise MalformedError(0, f"{what} does not start with its magic number")
    (crc,) = _UINT32.unpack_from(block, block_bytes - _UINT32.size)
    if crc32(memoryview(block)[: -_UINT32.size]) != crc:
        raise MalformedError(0, f"{what} fails its checksum")
    (version,) = _UINT32.unpack_from(block, len(magic))
    return _known(version, known_version)


def _known(version: int, known_version: int) -> int:
    if not 1 <= version <= known_version:
        raise NewerVersionError(version, known_version)
    return version


def padded_bytes(payload_bytes: int) -> int:
    """Return the length of a payload with its padding."""
    return (payload_bytes + RECORD_ALIGNMENT_BYTES - 1) & -RECORD_ALIGNMENT_BYTES


def chain_digest(previous: bytes, digested: bytes, payload: bytes | memoryview) -> bytes:
    """Return the digest of a batch: SHA-256 of the one before it, header fields and payload."""
    digest = hashlib.sha256(previous)
    digest.update(digested)
    digest.update(payload)
    return digest.digest()


def frame_record(
    payload: bytes,
    *,
    revision: int,
    time_ns: int,
    durable_revision: int,
    previous_digest: bytes,
    framing: Framing,
) -> tuple[bytes, bytes]:
    """Frame an encoded batch, which must not hold the mark.

    Returns:
        the record, padded, and the batch's chain digest, which does not depend on the mark.
    """
    seed, mark = framing
    digested = _RECORD_DIGESTED.pack(
        len(payload), crc32(payload, seed), revision, time_ns, durable_revision
    )
    digest = chain_digest(previous_digest, digested, payload)
    unsealed = mark + digested + digest + b"\0\0\0\0"
    header = unsealed + _UINT32.pack(crc32(unsealed, seed))
    return (header + payload).ljust(framing.record_bytes(len(payload)), b"\0"), digest


def unpack_record_header(block: bytes, framing: Framing) -> RecordHeader | None:
    """Return the record header in `framing.header_bytes` bytes, or None if it is not valid.

    No length is believed, and nothing allocated, before this has said that the header is whole.
    """
    seed, mark = framing
    if not block.startswith(mark):
        return None
    payload_bytes, payload_crc, revision, time_ns, durable_revision, digest, zero, crc = (
        _RECORD_HEADER.unpack_from(block, len(mark))
    )
    if crc32(block[: -_UINT32.size], seed) != crc or zero or not payload_bytes:
        return None
    return RecordHeader(payload_bytes, payload_crc, revision, time_ns, durable_revision, digest)


def peek_payload_bytes(window: bytes, offset_bytes: int) -> int:
    """Return the length field of what may be a header without its mark; not to be relied on."""
    length: int = _UINT32.unpack_from(window, offset_bytes)[0]
    return length


def payload_holds(header: RecordHeader, payload: bytes, seed: int) -> bool:
    """Say whether a payload has the checksum that its header states."""
    return crc32(payload, seed) == header.payload_crc


def parts_hold(header: RecordHeader, parts: Iterable[bytes], seed: int) -> bool:
    """Say the same of a payload that comes in parts."""
    for part in parts:
        seed = crc32(part, seed)
    return seed == header.payload_crc


def record_digest(header: RecordHeader, payload: bytes | memoryview, previous: bytes) -> bytes:
    """Return the digest that a record must state, given the one before it."""
    digested = _RECORD_DIGESTED.pack(
        header.payload_bytes,
        header.payload_crc,
        header.revision,
        header.time_ns,
        header.durable_revision,
    )
    return chain_digest(previous, digested, payload)


def pack_checkpoint_header(header: CheckpointHeader) -> bytes:
    """Return the first block of a checkpoint; its length stands in it."""
    block_bytes = CHECKPOINT_HEADER_BYTES_MIN + len(header.table_names)
    if block_bytes > CHECKPOINT_HEADER_BYTES_MAX:
        raise ValueError("the names of the tables do not fit into a checkpoint header")
    fields = _CHECKPOINT_HEADER.pack(
        _CHECKPOINT_MAGIC,
        CHECKPOINT_VERSION,
        block_bytes,
        header.store_id,
        header.revision,
        header.time_ns,
        header.digest,
    )
    return seal_block(fields + header.table_names, block_bytes)


def checkpoint_header_bytes(start: bytes) -> int:
    """Return the length of the header block that starts with these bytes.

    Raises:
        MalformedError: no checkpoint starts like this.
    """
    if len(start) < CHECKPOINT_HEADER_BYTES_MIN or not start.startswith(_CHECKPOINT_MAGIC):
        raise MalformedError(0, "the checkpoint does not start with its magic number")
    block_bytes = int(_CHECKPOINT_HEADER.unpack_from(start)[2])
    if not CHECKPOINT_HEADER_BYTES_MIN <= block_bytes <= CHECKPOINT_HEADER_BYTES_MAX:
        raise MalformedError(12, f"the checkpoint header can't be {block_bytes} bytes long")
    return block_bytes


def unpack_checkpoint_header(block: bytes) -> CheckpointHeader:
    """Return the header in the first block of a checkpoint.

    Raises:
        MalformedError: the bytes are not a checkpoint header.
        NewerVersionError: they are one of a newer format.
    """
    check_block(block, len(block), _CHECKPOINT_MAGIC, CHECKPOINT_VERSION, "checkpoint header")
    _, _, _, store_id, revision, time_ns, digest = _CHECKPOINT_HEADER.unpack_from(block)
    table_names = block[_CHECKPOINT_HEADER.size : -_UINT32.size]
    return CheckpointHeader(store_id, revision, time_ns, digest, table_names)


def pack_chunk(
    table: int, row_count: int, parts: tuple[bytes, bytes, bytes, bytes], seed: int
) -> bytes:
    """Return a chunk: its header and its four parts."""
    first_key, keys, _, values = parts
    body = b"".join(parts)
    lengths = _CHUNK_HEADER.pack(table, row_count, len(first_key), len(keys), len(values), 0)
    unsealed = lengths[: -_UINT32.size]
    return unsealed + _UINT32.pack(crc32(body, crc32(unsealed, seed))) + body


def unpack_chunk_header(block: bytes) -> ChunkHeader:
    """Return the header in `CHUNK_HEADER_BYTES` bytes; only `split_chunk` says if it is right."""
    return ChunkHeader(*_CHUNK_HEADER.unpack(block))


def split_chunk(
    header: ChunkHeader, block: bytes, body: bytes, seed: int
) -> tuple[bytes, bytes, bytes, bytes]:
    """Check a chunk and return its four parts.

    Raises:
        MalformedError: its checksum does not hold.
    """
    if crc32(body, crc32(block[: -_UINT32.size], seed)) != header.crc:
        raise MalformedError(0, "a chunk of rows fails its checksum")
    keys_end = header.first_key_bytes + header.keys_bytes
    ends_end = keys_end + _UINT32.size * header.row_count
    return (
        body[: header.first_key_bytes],
        body[header.first_key_bytes : keys_end],
        body[keys_end:ends_end],
        body[ends_end:],
    )


def pack_ends(values: Sequence[bytes]) -> bytes:
    """Return where each of a chunk's values ends when they stand one after the other."""
    return _in_file_order(array(_UINT32_ARRAY_CODE, accumulate(map(len, values)))).tobytes()


def unpack_ends(ends: bytes) -> Sequence[int]:
    """Return where each of a chunk's values ends.

    Raises:
        ValueError: a part of an end is left over.
    """
    return _in_file_order(array(_UINT32_ARRAY_CODE, ends))


def are_ends(ends: bytes, count: int) -> bool:
    """Say whether there are so many ends of values."""
    return len(ends) == _UINT32.size * count


def end_of_value(ends: bytes, index: int) -> int:
    """Return where one of a chunk's values ends."""
    start = _UINT32.size * index
    return int.from_bytes(ends[start : start + _UINT32.size], "little")


def _in_file_order(numbers: array[int]) -> array[int]:
    """Swap the bytes of an array between the order of the machine and that of the file."""
    if sys.byteorder == "big":  # pragma: no cover
        numbers.byteswap()
    return numbers


def footer_bytes(table_count: int) -> int:
    """Return the length of the footer of a checkpoint with that many tables."""
    return _FOOTER.size + _ROW_COUNT.size * table_count + _UINT32.size


def pack_footer(footer: CheckpointFooter) -> bytes:
    """Return the last block of a checkpoint."""
    counts = b"".join(_ROW_COUNT.pack(count) for count in footer.row_counts)
    fields = _FOOTER.pack(
        _FOOTER_MAGIC, CHECKPOINT_VERSION, len(footer.row_counts), footer.chunk_count, footer.digest
    )
    return seal_block(fields + counts, footer_bytes(len(footer.row_counts)))


def unpack_footer(block: bytes, table_count: int) -> CheckpointFooter:
    """Return the footer in the last block of a checkpoint.

    Raises:
        MalformedError: the bytes are not the footer of a checkpoint with that many tables.
        NewerVersionError: they are one of a newer format.
    """
    size = footer_bytes(table_count)
    check_block(block, size, _FOOTER_MAGIC, CHECKPOINT_VERSION, "checkpoint footer")
    _, _, counted, chunk_count, digest = _FOOTER.unpack_from(block)
    if counted != table_count:
        raise MalformedError(0, f"the footer counts {counted} tables, the header {table_count}")
    counts = block[_FOOTER.size : -_UINT32.size]
    row_counts = tuple(int(count) for (count,) in _ROW_COUNT.iter_unpack(counts))
    return CheckpointFooter(chunk_count, digest, row_counts)


def pack_durable(store_id: bytes, durable_revision: int) -> bytes:
    """Return the content of the `durable` file."""
    fields = _DURABLE.pack(_DURABLE_MAGIC, DURABLE_VERSION, store_id, durable_revision, 0)
    return fields[: -_UINT32.size] + _UINT32.pack(crc32(fields[: -_UINT32.size]))


def unpack_durable(block: bytes, store_id: bytes | None) -> int | None:
    """Return the durable revision that the file states; None if it can't be relied on.

    With None for the store id, the file of any store will do. The file is a lower bound that may
    be lost or torn by a crash, so that damage in it says nothing about the log.

    Raises:
        NewerVersionError: the block is whole, and of a newer format.
    """
    if len(block) < DURABLE_BYTES:
        return None
    magic, version, found_id, revision, crc = _DURABLE.unpack_from(block)
    sound = crc32(block[: DURABLE_BYTES - _UINT32.size]) == crc
    if not sound or magic != _DURABLE_MAGIC:
        return None
    _known(version, DURABLE_VERSION)
    if store_id is not None and found_id != store_id:
        return None
    return int(revision)


def durable_store_id(block: bytes) -> bytes | None:
    """Return the id of the store whose `durable` file it is; None if it can't be relied on."""
    if unpack_durable(block, None) is None:
        return None
    return bytes(_DURABLE.unpack_from(block)[2])
