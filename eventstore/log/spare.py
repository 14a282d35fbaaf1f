"""The spare: the next segment, preallocated before it is needed.

Making a segment means writing its whole length in zeros and syncing that; done ahead of time and
off the commit path, the roll costs a commit one rename. The zeros are really written: a file
that was only reserved (fallocate) has unwritten extents, and each sync of records into those
also has to commit their conversion to the file system's journal.

Exactly one thread prepares at a time. A spare that is short or half written has never been
renamed, so a crash leaves nothing but a temporary file to remove.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from eventstore import format as layout
from eventstore.errors import StorageFullError
from eventstore.filesystem import is_full, join

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.filesystem import File, FileSystem

_SLICE_BYTES = 1024 * 1024
_ZEROS = bytes(_SLICE_BYTES)


class Spare(NamedTuple):
    """A preallocated file that is no segment yet."""

    file: File
    size_bytes: int


def preallocate(
    file_system: FileSystem, path: str, size_bytes: int, pause: Callable[[], object] | None = None
) -> Spare:
    """Make a file of zeros and sync it.

    Args:
        file_system: where.
        path: of the file.
        size_bytes: its length.
        pause: called between slices, so that a background caller leaves the disk to commits.

    Raises:
        StorageFullError: no space; nothing is left behind.
    """
    try:
        file = file_system.create(path)
        try:
            for offset in range(0, size_bytes, _SLICE_BYTES):
                file.write(offset, _ZEROS[: size_bytes - offset])
                if pause:
                    file.sync()
                    pause()
            file.sync()
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                file_system.remove(path)
            raise
    except OSError as error:
        if is_full(error):
            raise StorageFullError(
                f"{path}: no space for the next segment ({size_bytes} bytes); nothing was "
                "committed: free some space and try again"
            ) from error
        raise
    return Spare(file, size_bytes)


class SpareKeeper:
    """Holds at most one spare, prepared by whoever asks first."""

    def __init__(self, file_system: FileSystem, wal_path: str, segment_bytes: int) -> None:
        self._file_system = file_system
        self._wal_path = wal_path
        self._segment_bytes = segment_bytes
        self._preparing = threading.Lock()
        self._spare: Spare | None = None
        self._made = 0

    @property
    def ready(self) -> bool:
        """Whether a spare is there to be taken."""
        return self._spare is not None

    def prepare(self, pause: Callable[[], object] | None = None) -> None:
        """Make the spare unless there is one.

        Raises:
            StorageFullError: no space for it.
        """
        with self._preparing:
            if self._spare is None:
                self._spare = self._make(self._segment_bytes, pause)

    def take(self, size_bytes: int) -> Spare:
        """Give the spare away, or make one now; the caller renames it.

        Args:
            size_bytes: the least that it must hold.

        Raises:
            StorageFullError: there is none and no space for one.
        """
        with self._preparing:
            spare, self._spare = self._spare, None
            if spare is not None and spare.size_bytes >= size_bytes:
                return spare
            if spare is not None:
                spare.file.close()
                self._file_system.remove(spare.file.path)
            return self._make(max(self._segment_bytes, size_bytes), None)

    def discard(self) -> None:
        """Give the space of the spare back to the file system."""
        with self._preparing:
            if self._spare is not None:
                self._spare.file.close()
                self._file_system.remove(self._spare.file.path)
                self._spare = None

    def close(self) -> None:
        """Close the spare's file, which the next open removes or replaces."""
        with self._preparing:
            if self._spare is not None:
                self._spare.file.close()
                self._spare = None

    def _make(self, size_bytes: int, pause: Callable[[], object] | None) -> Spare:
        # A number of its own, because a spare keeps its name until the roll has made it a
        # segment, and the next one is prepared meanwhile.
        self._made += 1
        path = join(self._wal_path, layout.spare_name(self._made))
        return preallocate(self._file_system, path, size_bytes, pause)
