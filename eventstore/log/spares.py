"""Spares: the next segments, preallocated before they are needed.

Making a segment means writing its whole length in zeros and syncing that; done ahead of time and
off the commit path, the roll costs a commit one rename. The zeros are really written: a file
that was only reserved (fallocate) has unwritten extents, and each sync of records into those
also has to commit their conversion to the file system's journal.

Two are kept: one to roll into, and one in reserve. On a full disk, only batches that free space
roll into the last one, and a checkpoint or a compaction that finds no space gets its space. Were
it spent on batches that fill the disk further, nobody could make room any more.

A name needs room as well: where a directory's block is full, the rename of a spare needs another
one. So a small file is kept beside the spares, and cut to nothing when a rename finds no space. To
give up a name instead was tried: ext4 sorts names by their hash into blocks, and 6 of 10 refused
renames were refused again. With blocks given up, none of 13 on full ext4 and xfs was.

Exactly one thread prepares at a time. A spare that is short or half written has never been
renamed, so a crash leaves nothing but a temporary file to remove.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from eventstore.errors import StorageFullError
from eventstore.files.failures import is_full
from eventstore.files.paths import join
from eventstore.format.names import spare_name
from eventstore.locks import refuse_reentry

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import File, FileSystem

_SPARES = 2
_ROOM_BYTES = 256 * 1024
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
        file_system: that the file is made on.
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
                "committed",
                f"free at least {size_bytes} bytes and try again",
            ) from error
        raise
    return Spare(file, size_bytes)


class SpareKeeper:
    """Holds up to two spares, and room for a name, prepared by whoever asks first."""

    def __init__(self, file_system: FileSystem, wal_path: str, segment_bytes: int) -> None:
        self._file_system = file_system
        self._wal_path = wal_path
        self._segment_bytes = segment_bytes
        self._preparing = threading.RLock()
        self._spares: deque[Spare] = deque()
        self._room: Spare | None = None
        self._is_lent = False
        self._made = 0

    @property
    def ready(self) -> bool:
        """Whether one can be taken so that the reserve is left."""
        return len(self._spares) >= _SPARES and self._room is not None

    def prepare(self, pause: Callable[[], object] | None = None) -> None:
        """Make the spares that are missing.

        Raises:
            StorageFullError: no space for one.
        """
        refuse_reentry(self._preparing)
        with self._preparing:
            self._fill(pause)

    def take(self, size_bytes: int, *, may_be_last: bool) -> Spare:
        """Give a spare away, or one made now; the caller renames it.

        Args:
            size_bytes: the least that it must hold.
            may_be_last: whether the reserve may be spent on it.

        Raises:
            StorageFullError: there is none to be had.
        """
        refuse_reentry(self._preparing)
        with self._preparing:
            if not (may_be_last and self._spares):
                self._fill(None)
            if self._spares[0].size_bytes >= size_bytes:
                return self._spares.popleft()
            return self._make(size_bytes, None)

    def lend(self) -> bool:
        """Give the space of one spare back to the file system; say whether there was one.

        Until `end_loan` no spare is made, which would take the space away from whom it is for.
        """
        refuse_reentry(self._preparing)
        with self._preparing:
            if not self._spares:
                return False
            self._is_lent = True
            spare = self._spares.pop()
            spare.file.close()
            self._file_system.remove(spare.file.path)
            return True

    def end_loan(self) -> bool:
        """Let spares be made again; say whether any had been lent."""
        refuse_reentry(self._preparing)
        with self._preparing:
            was_lent, self._is_lent = self._is_lent, False
            return was_lent

    def rename_in_room(self, source: str, target: str) -> bool:
        """Rename in the space kept for a name, before a spare takes it; False if it is used up.

        It is cut before it is removed, and that is synced: xfs frees the blocks of a removed file,
        and ext4 those of any, a little later.
        """
        with self._preparing:
            room, self._room = self._room, None
            if room is None:
                return False
            try:
                room.file.truncate(0)
                room.file.sync()
            finally:
                room.file.close()
            self._file_system.remove(room.file.path)
            self._file_system.rename(source, target)
            return True

    def close(self) -> None:
        """Close the files of the spares, which the next open removes or replaces."""
        refuse_reentry(self._preparing)
        with self._preparing:
            while self._spares:
                self._spares.pop().file.close()
            if self._room is not None:
                self._room.file.close()

    def _fill(self, pause: Callable[[], object] | None) -> None:
        if self._is_lent:
            raise StorageFullError(
                f"{self._wal_path}: no space for the next segment: what is left is being used to "
                "make space; nothing was committed",
                f"free at least {self._segment_bytes} bytes and try again",
            )
        if self._room is None:
            self._room = self._make(_ROOM_BYTES, pause)
        while len(self._spares) < _SPARES:
            self._spares.append(self._make(self._segment_bytes, pause))

    def _make(self, size_bytes: int, pause: Callable[[], object] | None) -> Spare:
        # A number of its own, because a spare keeps its name until the roll has made it a
        # segment, and the next one is prepared meanwhile.
        self._made += 1
        path = join(self._wal_path, spare_name(self._made))
        return preallocate(self._file_system, path, size_bytes, pause)
