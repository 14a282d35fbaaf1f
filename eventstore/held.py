"""The file system as the holder of a store's lock sees it.

The lock goes with the directory, wherever that is moved, but everything else goes by path. Were a
store moved while it is open, and another one made in its place, the writer of the first would
roll, checkpoint and compact in the second. So before every call it is made sure that the locked
directory is still the one at the store's path; if not, the call raises `OSError` (ESTALE). A log
that meets that has failed: what was acknowledged is in the directory that was moved.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from eventstore.forwarding import ForwardingFileSystem

if TYPE_CHECKING:
    from eventstore.filesystem import FileLock, FileSystem


class HeldFileSystem(ForwardingFileSystem):
    """Another file system, for as long as a lock holds the directory at a path."""

    def __init__(self, file_system: FileSystem, lock: FileLock, path: str) -> None:
        super().__init__(file_system)
        self._lock = lock
        self._path = path

    @property
    def _target(self) -> FileSystem:
        if self._lock.has_left(self._path):
            raise OSError(
                errno.ESTALE,
                "the store was moved or removed while it was open: open it where it is now",
                self._path,
            )
        return super()._target
