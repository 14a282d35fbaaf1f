"""Archived segments: one gzip stream that the standard tools read, in blocks that can be sought.

After each block the compressor forgets what it has seen and goes on at a whole byte, so that a
block can be unpacked by itself. Where each starts stands in the extra field of the stream's header,
under a checksum of all of the header. A stream without that field is of version 1: one block.
"""

from __future__ import annotations

import struct
import zlib
from itertools import accumulate
from typing import NamedTuple

from eventstore.format.blocks import UINT32, MalformedError, known_version

ARCHIVE_VERSION = 2
"""Of archive files as they are written; it and every older one is read."""

PREFIX_BYTES = 16
"""Of a stream: with these it is known how long its header is."""

_WINDOW_BITS = 31
_RAW_WINDOW_BITS = -15
_COMPRESSION_LEVEL = 6
_PREFIX = struct.Struct("<3sB6sH2sH")
_FIXED_BYTES = 10
_MAGIC = b"\x1f\x8b\x08"
_HAS_EXTRA = 4
_UNKNOWN_SYSTEM = b"\0\0\0\0\0\xff"
_FIELD_NAME = b"ES"
_FIELD = struct.Struct("<BxxxIQ")
_TRAILER = struct.Struct("<II")
_BLOCK_BYTES_MIN = 64 * 1024
_BLOCKS_MAX = 4096
"""So that their lengths fit into an extra field, of at most 64 KiB."""


class Blocks(NamedTuple):
    """Where the blocks of an archived segment are.

    Attributes:
        block_bytes: of each but the last, unpacked.
        size_bytes: of all, unpacked.
        starts: where each starts in the file, and where the last one ends.
    """

    block_bytes: int
    size_bytes: int
    starts: tuple[int, ...]


def pack_archive(data: bytes) -> bytes:
    """Return a segment's bytes as an archive file holds them."""
    block_bytes = max(_BLOCK_BYTES_MIN, -(-len(data) // _BLOCKS_MAX))
    compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, _RAW_WINDOW_BITS)
    view = memoryview(data)
    packed = [
        compressor.compress(view[start : start + block_bytes]) + compressor.flush(zlib.Z_FULL_FLUSH)
        for start in range(0, len(data), block_bytes)
    ]
    lengths = struct.pack(f"<{len(packed)}I", *map(len, packed))
    field = _FIELD.pack(ARCHIVE_VERSION, block_bytes, len(data)) + lengths
    field_bytes = len(field) + UINT32.size
    header = _PREFIX.pack(
        _MAGIC, _HAS_EXTRA, _UNKNOWN_SYSTEM, field_bytes + 4, _FIELD_NAME, field_bytes
    )
    header += field
    header += UINT32.pack(zlib.crc32(header))
    trailer = _TRAILER.pack(zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"".join((header, *packed, compressor.flush(), trailer))


def header_bytes(prefix: bytes) -> int:
    """Return the length of a stream's header, of which these are the first bytes.

    It is not to be relied on before `unpack_blocks` has said that the header holds.
    """
    if len(prefix) < PREFIX_BYTES or not prefix[3] & _HAS_EXTRA:
        return _FIXED_BYTES
    return _FIXED_BYTES + 2 + int(_PREFIX.unpack_from(prefix)[3])


def unpack_blocks(header: bytes) -> Blocks | None:
    """Return where the blocks are, by the header of a stream; None for one of version 1.

    Raises:
        MalformedError: the header is damaged.
        NewerVersionError: it is one of a newer format.
    """
    if header_bytes(header) == _FIXED_BYTES:
        return None
    magic, flags, system, extra_bytes, name, field_bytes = _PREFIX.unpack_from(header)
    if len(header) != header_bytes(header) or len(header) < PREFIX_BYTES + _FIELD.size + 4:
        raise MalformedError(0, "the header of the archive file is cut short")
    if zlib.crc32(header[: -UINT32.size]) != UINT32.unpack(header[-UINT32.size :])[0]:
        raise MalformedError(0, "the header of the archive file fails its checksum")
    if (magic, flags, name, field_bytes + 4) != (_MAGIC, _HAS_EXTRA, _FIELD_NAME, extra_bytes):
        raise MalformedError(0, f"the header of the archive file is another's: {system.hex()}")
    version, block_bytes, size_bytes = _FIELD.unpack_from(header, PREFIX_BYTES)
    known_version(version, ARCHIVE_VERSION)
    count = (len(header) - PREFIX_BYTES - _FIELD.size - UINT32.size) // UINT32.size
    if not block_bytes or count != -(-size_bytes // block_bytes):
        raise MalformedError(0, "the header of the archive file states a wrong number of blocks")
    lengths = struct.unpack_from(f"<{count}I", header, PREFIX_BYTES + _FIELD.size)
    return Blocks(block_bytes, size_bytes, tuple(accumulate(lengths, initial=len(header))))


def unpack_block(packed: bytes, size_bytes: int) -> bytes:
    """Unpack a block by itself.

    Raises:
        MalformedError: it can't be, or holds less.
    """
    decompressor = zlib.decompressobj(_RAW_WINDOW_BITS)
    try:
        data = decompressor.decompress(packed, size_bytes)
    except zlib.error as error:
        raise MalformedError(
            0, f"a block of the archive file can't be unpacked: {error}"
        ) from error
    if len(data) < size_bytes:
        raise MalformedError(0, "a block of the archive file is cut short")
    return data


def stream_decompressor() -> zlib._Decompress:
    """Return what unpacks a whole stream of any version, and checks its checksum."""
    return zlib.decompressobj(_WINDOW_BITS)


def raw_decompressor() -> zlib._Decompress:
    """Return what unpacks a stream whose header was taken off, and checks nothing."""
    return zlib.decompressobj(_RAW_WINDOW_BITS)
