"""The note `ERASING`: an erasure may be unfinished.

It is written before the event of the erasure is committed, and removed once all of it is carried
out. It says the revision before that event, under a checksum: a damaged note must not pass for
none, since the log may hold an erasure that nobody has carried out.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from eventstore.files.content import read_file, write_temporary
from eventstore.files.paths import join
from eventstore.format.names import ERASING_NAME, TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from eventstore.files.interface import FileSystem

_VERSION = 2
_NOTE_BYTES_MAX = 64


def note_erasing(file_system: FileSystem, path: str, revision: int) -> None:
    """Make it known that what is committed after a revision may be an erasure to be finished."""
    stated = b"%d %d" % (_VERSION, revision)
    note = join(path, ERASING_NAME)
    content = b"%s %08x\n" % (stated, zlib.crc32(stated))
    write_temporary(file_system, note + TEMPORARY_SUFFIX, content)
    file_system.rename(note + TEMPORARY_SUFFIX, note)
    file_system.sync_directory(path)


def is_erasing(file_system: FileSystem, path: str) -> bool:
    """Say whether an erasure may be unfinished."""
    return file_system.exists(join(path, ERASING_NAME))


def noted_revision(file_system: FileSystem, path: str) -> int | None:
    """Return the revision behind which the erasure was committed that is noted.

    None if the note does not say: it is damaged, or an older release was killed before it was whole
    and so before anything was committed. Which of the two, the log tells.
    """
    note = read_file(file_system, join(path, ERASING_NAME), _NOTE_BYTES_MAX)
    if note.endswith(b"\n") and note[:-1].isdigit():  # of version 1, which had no checksum
        return int(note)
    stated, _, checksum = note.rpartition(b" ")
    version, _, revision = stated.partition(b" ")
    is_whole = checksum == b"%08x\n" % zlib.crc32(stated) and version == b"%d" % _VERSION
    return int(revision) if is_whole and revision.isdigit() else None
