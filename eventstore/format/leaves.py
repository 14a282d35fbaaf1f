"""Leaf files: a span of the tree over the batches, as its digests and the roots of its tiles.

FORMAT.md, "Tree", is the layout. A span has up to 65,536 leaves, and begins at a multiple of that;
its digests stand in rows of 256, each under its checksum, so that a proof reads a few rows and not
the file. Where everything is follows from the number of leaves alone.
"""

from __future__ import annotations

import struct
from zlib import crc32

from eventstore.format.blocks import UINT32, MalformedError, check_block, seal_block

LEAVES_VERSION = 1
"""Of leaf files as they are written; it and every older one is read."""

DIGEST_BYTES = 32
ROW_LEAVES = 256
SPAN_LEAVES = ROW_LEAVES * ROW_LEAVES
LEAVES_HEADER_BYTES = 64

_MAGIC = b"EVSTTRE\0"
_HEADER = struct.Struct("<8sII16sQ")
_ROW_BYTES = ROW_LEAVES * DIGEST_BYTES + UINT32.size


def pack_leaves(store_id: bytes, first_revision: int, digests: bytes, roots: bytes) -> bytes:
    """Return the content of a leaf file.

    Args:
        store_id: of the store.
        first_revision: of the first leaf.
        digests: of the batches, one after the other.
        roots: of the tiles of 256 that are full, one after the other.
    """
    count = len(digests) // DIGEST_BYTES
    seed = crc32(store_id)
    header = _HEADER.pack(_MAGIC, LEAVES_VERSION, count, store_id, first_revision)
    row_bytes = ROW_LEAVES * DIGEST_BYTES
    rows = [digests[at : at + row_bytes] for at in range(0, len(digests), row_bytes)]
    sealed = [part + UINT32.pack(crc32(part, seed)) for part in (*rows, roots)]
    return seal_block(header, LEAVES_HEADER_BYTES) + b"".join(sealed)


def check_leaves_header(block: bytes, store_id: bytes, first_revision: int, count: int) -> None:
    """Check that a file has the leaves that its name states.

    Raises:
        MalformedError: it has not.
        NewerVersionError: it is one of a newer format.
    """
    check_block(block, LEAVES_HEADER_BYTES, _MAGIC, LEAVES_VERSION, "the leaf file's header")
    _, _, found_count, found_id, found_first = _HEADER.unpack_from(block)
    if found_id != store_id:
        raise MalformedError(0, "the leaves belong to another store")
    if (found_first, found_count) != (first_revision, count):
        raise MalformedError(0, "the header states other leaves than the name")


def leaves_bytes(count: int) -> int:
    """Return the length of a file of so many leaves."""
    start, size = roots_place(count)
    return start + size


def row_place(count: int, row: int) -> tuple[int, int]:
    """Return offset and length of a row and its checksum, in a file of so many leaves."""
    leaves = min(ROW_LEAVES, count - row * ROW_LEAVES)
    return LEAVES_HEADER_BYTES + row * _ROW_BYTES, leaves * DIGEST_BYTES + UINT32.size


def roots_place(count: int) -> tuple[int, int]:
    """Return offset and length of the roots and their checksum, in a file of so many leaves."""
    rows = -(-count // ROW_LEAVES)
    start = LEAVES_HEADER_BYTES + count * DIGEST_BYTES + rows * UINT32.size
    return start, count // ROW_LEAVES * DIGEST_BYTES + UINT32.size


def unpack_part(block: bytes, place: tuple[int, int], store_id: bytes) -> bytes:
    """Return a row, or the roots, without the checksum.

    Raises:
        MalformedError: it is cut short, or fails its checksum.
    """
    offset, size = place
    if len(block) != size:
        raise MalformedError(offset, "the leaf file is cut short")
    (crc,) = UINT32.unpack_from(block, size - UINT32.size)
    part = block[: -UINT32.size]
    if crc32(part, crc32(store_id)) != crc:
        raise MalformedError(offset, "a row of leaves fails its checksum")
    return part
