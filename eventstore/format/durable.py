"""The `durable` file: one small record, a lower bound of what is on stable storage."""

from __future__ import annotations

import struct
from zlib import crc32

from eventstore.format.blocks import UINT32, known_version

DURABLE_VERSION = 1
"""Of `durable` files as they are written; it and every older one is read."""

_DURABLE = struct.Struct("<8sI16sQI")
_CHECKED = struct.Struct("<8sI16sQ")
_DURABLE_MAGIC = b"EVSTDUR\0"
DURABLE_BYTES = 40


if _DURABLE.size != DURABLE_BYTES:  # pragma: no cover
    raise ImportError("the struct of the durable file has the wrong size")


def pack_durable(store_id: bytes, durable_revision: int) -> bytes:
    """Return the content of the `durable` file."""
    fields = _CHECKED.pack(_DURABLE_MAGIC, DURABLE_VERSION, store_id, durable_revision)
    return fields + UINT32.pack(crc32(fields))


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
    sound = crc32(block[: DURABLE_BYTES - UINT32.size]) == crc
    if not sound or magic != _DURABLE_MAGIC:
        return None
    known_version(version, DURABLE_VERSION)
    if store_id is not None and found_id != store_id:
        return None
    return int(revision)


def durable_store_id(block: bytes) -> bytes | None:
    """Return the id of the store whose `durable` file it is; None if it can't be relied on."""
    if unpack_durable(block, None) is None:
        return None
    return bytes(_DURABLE.unpack_from(block)[2])
