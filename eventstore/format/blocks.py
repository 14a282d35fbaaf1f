"""What all kinds of files have in common: sealed blocks, versions, and what malformed means.

Integers are little-endian. Every checksum is CRC-32 (zlib's). A block starts with magic number
and version, and ends in the checksum of all before it.
"""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

UINT32 = struct.Struct("<I")
"""One number, as lengths, versions and checksums are."""

_UINT32_ARRAY_CODE = "I"


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


def seal_block(fields: bytes, block_bytes: int) -> bytes:
    """Pad fields with zeros to a block that ends in the checksum of all before it."""
    body = fields.ljust(block_bytes - UINT32.size, b"\0")
    return body + UINT32.pack(crc32(body))


def check_block(block: bytes, block_bytes: int, magic: bytes, newest: int, what: str) -> int:
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
    (crc,) = UINT32.unpack_from(block, block_bytes - UINT32.size)
    if crc32(memoryview(block)[: -UINT32.size]) != crc:
        raise MalformedError(0, f"{what} fails its checksum")
    (version,) = UINT32.unpack_from(block, len(magic))
    return known_version(version, newest)


def known_version(version: int, newest: int) -> int:
    """Return a version, if this release knows it.

    Raises:
        NewerVersionError: it is newer.
    """
    if not 1 <= version <= newest:
        raise NewerVersionError(version, newest)
    return version


def pack_numbers(numbers: Iterable[int]) -> bytes:
    """Return numbers of 32 bits, one after the other."""
    return _in_file_order(array(_UINT32_ARRAY_CODE, numbers)).tobytes()


def unpack_numbers(packed: bytes) -> array[int]:
    """Return the numbers that `pack_numbers` has packed.

    Raises:
        ValueError: a part of a number is left over.
    """
    return _in_file_order(array(_UINT32_ARRAY_CODE, packed))


def _in_file_order(numbers: array[int]) -> array[int]:
    """Swap the bytes of an array between the order of the machine and that of the file."""
    if sys.byteorder == "big":  # pragma: no cover
        numbers.byteswap()
    return numbers
