"""The note `ERASING`: an erasure may be unfinished.

It is written before the event of the erasure is committed, and removed once all of it is carried
out. It says the revision before that event, under a checksum: a damaged note must not pass for
none, since the log may hold an erasure that nobody has carried out.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore.errors import FormatVersionError
from eventstore.files.content import read_file, write_temporary
from eventstore.files.paths import join
from eventstore.format.blocks import NewerVersionError
from eventstore.format.erasing import ERASING_BYTES_MAX, pack_erasing, unpack_erasing
from eventstore.format.names import ERASING_NAME, TEMPORARY_SUFFIX

if TYPE_CHECKING:
    from eventstore.files.interface import FileSystem


def note_erasing(file_system: FileSystem, path: str, revision: int) -> None:
    """Make it known that what is committed after a revision may be an erasure to be finished.

    Raises:
        OSError: it can't be written; nothing is left behind but for a name that may not be durable.
    """
    note = join(path, ERASING_NAME)
    temporary = note + TEMPORARY_SUFFIX
    try:
        write_temporary(file_system, temporary, pack_erasing(revision))
        file_system.rename(temporary, note)
    except BaseException:
        with contextlib.suppress(OSError):
            file_system.remove(temporary)
        raise
    file_system.sync_directory(path)


def is_erasing(file_system: FileSystem, path: str) -> bool:
    """Say whether an erasure may be unfinished."""
    return file_system.exists(join(path, ERASING_NAME))


def noted_revision(file_system: FileSystem, path: str) -> int | None:
    """Return the revision behind which the erasure was committed that is noted.

    None if the note does not say: it is damaged, or an older release was killed before it was whole
    and so before anything was committed. Which of the two, the log tells.

    Raises:
        FormatVersionError: it is one of a newer format.
    """
    note = join(path, ERASING_NAME)
    try:
        return unpack_erasing(read_file(file_system, note, ERASING_BYTES_MAX))
    except NewerVersionError as error:
        raise FormatVersionError(note, error.found_version, error.known_version) from error
