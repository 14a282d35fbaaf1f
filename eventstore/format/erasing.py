"""The note `ERASING`: one line, of its version, a revision and the checksum of the two."""

from __future__ import annotations

import zlib

from eventstore.format.blocks import known_version

ERASING_VERSION = 2
"""Of the note as it is written; it and version 1, a revision alone, are read."""

ERASING_BYTES_MAX = 64


def pack_erasing(revision: int) -> bytes:
    """Return the note that what comes after a revision may be an unfinished erasure."""
    stated = b"%d %d" % (ERASING_VERSION, revision)
    return b"%s %08x\n" % (stated, zlib.crc32(stated))


def unpack_erasing(note: bytes) -> int | None:
    """Return the revision in a note; None if it is damaged, or was never written as a whole.

    Raises:
        NewerVersionError: it is one of a newer format.
    """
    if note.endswith(b"\n") and note[:-1].isdigit():  # of version 1, which had no checksum
        return int(note)
    stated, _, checksum = note.rpartition(b" ")
    version, _, revision = stated.partition(b" ")
    if checksum != b"%08x\n" % zlib.crc32(stated) or not (version + revision).isdigit():
        return None
    known_version(int(version), ERASING_VERSION)
    return int(revision)
