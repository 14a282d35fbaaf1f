"""The file system as the holder of a store's lock sees it.

The lock is on the directory, wherever that is moved, but the names that the engine uses are paths.
Were a store moved while it is open, and another one made in its place, the writer of the first
would roll, checkpoint and compact in the second; and who owns a directory above or in the store
could lead a writer of greater rights elsewhere, by a link. So the holder's calls

- are made only while the locked directory is still the one at the store's path; if it is not, they
  raise `OSError` (ESTALE). A log that meets that has failed, and background maintenance looks once
  a second: what was acknowledged is in the directory that was moved, or gone with it;
- go by the descriptor of the locked directory (`GuardedPath`), so that a directory that is swapped
  between two calls leads nowhere else;
- change nothing once the lock was released, nor in a forked child, which has it no more. What is
  read then is read by path, as by anybody.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from eventstore.files.forwarding import ForwardingFileSystem
from eventstore.files.interface import GuardedPath
from eventstore.files.paths import join

if TYPE_CHECKING:
    from eventstore.files.interface import FileLock, FileSystem


class GuardedFileSystem(ForwardingFileSystem):
    """Another file system, for as long as a lock holds the directory at a path.

    Attributes:
        made_root: whether the directory was made for this holder.
    """

    def __init__(
        self, file_system: FileSystem, lock: FileLock, path: str, *, made_root: bool = False
    ) -> None:
        super().__init__(file_system)
        self._lock = lock
        self._path = path
        self.made_root = made_root

    @property
    def _target(self) -> FileSystem:
        if self._lock.has_left(self._path):
            raise OSError(
                errno.ESTALE,
                "the store was moved or removed while it was open, and is no longer at its path; "
                "what was acknowledged is where it was moved to, or gone with it",
                self._path,
            )
        return super()._target

    def _to_read(self, path: str) -> str:
        return self._held(path) if self._lock.is_held else path

    def _to_change(self, path: str) -> str:
        if not self._lock.is_held:
            raise OSError(errno.EBADF, "the store is no longer held by this process", path)
        return self._held(path)

    def _held(self, path: str) -> str:
        if path == self._path or path.startswith(join(self._path, "")):
            return GuardedPath(path, self._path, self._lock)
        return path

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty; the locked one too."""
        if path == self._path:
            # It has no name in itself. By path, this can take away nothing but an empty directory.
            self._to_change(path)
            self._target.remove_directory(path)
            return
        super().remove_directory(path)

    def release(self) -> None:
        """Let the next one have the store; does nothing the second time."""
        self._lock.release()
