"""The file system as the holder of a store's lock sees it.

The lock is on the directory, wherever that is moved, but the names that the engine uses are paths.
Were a store moved while it is open, and another one made in its place, the writer of the first
would roll, checkpoint and compact in the second; and who owns a directory above or in the store
could lead a writer of greater rights elsewhere, by a link. So the holder's calls

- are made only while the locked directory is still the one at the store's path; if it is not, they
  raise `OSError` (ESTALE), which says where the directory is now, and tell whoever asked for that
  (`call_when_gone`): the handle has failed, whoever found that out. Background maintenance looks
  once a second;
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
    from collections.abc import Callable

    from eventstore.files.interface import FileLock, FileSystem


_REMOVED = "the store was removed while it was open, and all that was acknowledged with it"
_MOVED = "the store was moved while it was open, to {}, and what was acknowledged is there"
_GONE = (
    "the store was moved or removed while it was open; what was acknowledged is where it was moved "
    "to, or gone with it"
)


def _do_nothing(error: OSError) -> None:
    """Nobody has asked to be told."""


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
        self._below = join(path, "")
        self.made_root = made_root
        self._on_gone: Callable[[OSError], object] = _do_nothing

    def call_when_gone(self, method: Callable[[OSError], object]) -> None:
        """Have a method called by whoever finds that the directory is no longer at its path.

        It may be called by any thread, with any lock held, and more than once: it must not wait.
        """
        self._on_gone = method

    def require_there(self, path: str) -> None:
        """Raise, as every other call, if the store is gone; also if a directory of it is.

        Who removes what is in the directory leaves that itself where it was.
        """
        if not self.is_directory(path):
            error = OSError(errno.ESTALE, _REMOVED, self._path)
            self._on_gone(error)
            raise error

    @property
    def _target(self) -> FileSystem:
        if self._lock.has_left(self._path):
            error = self._gone_error()
            self._on_gone(error)
            raise error
        return super()._target

    def _gone_error(self) -> OSError:
        try:
            path = self._lock.directory_now()
        except OSError:
            text = _GONE
        else:
            text = _MOVED.format(path) if path is not None else _REMOVED
        return OSError(errno.ESTALE, text, self._path)

    def _to_read(self, path: str) -> str:
        return self._held(path) if self._lock.is_held else path

    def _to_change(self, path: str) -> str:
        if not self._lock.is_held:
            raise OSError(errno.EBADF, "the store is no longer held by this process", path)
        return self._held(path)

    def _held(self, path: str) -> str:
        if path == self._path or path.startswith(self._below):
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
