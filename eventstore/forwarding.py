"""A file system in front of another one: the base of those that add something to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.filesystem import File, FileLock, FileSystem, SharedBlock


class ForwardingFileSystem:
    """Passes every call on to `_target`."""

    def __init__(self, file_system: FileSystem) -> None:
        self._behind = file_system

    @property
    def _target(self) -> FileSystem:
        """Where the next call goes; it may raise."""
        return self._behind

    def create(self, path: str) -> File:
        """Make a new empty file, open for reading and writing; raise if there is one."""
        return self._target.create(path)

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a regular file that is there."""
        return self._target.open(path, writable=writable)

    def exists(self, path: str) -> bool:
        """Say whether there is anything at the path, a dangling link included."""
        return self._target.exists(path)

    def is_directory(self, path: str) -> bool:
        """Say whether a directory, and not a link to one, is at the path."""
        return self._target.is_directory(path)

    def find_link(self, path: str) -> str | None:
        """Return the name of a symbolic link in a directory, if there is one."""
        return self._target.find_link(path)

    def size_bytes(self, path: str) -> int:
        """Return the length of the file at the path."""
        return self._target.size_bytes(path)

    def list_directory(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        return self._target.list_directory(path)

    def make_directory(self, path: str) -> None:
        """Make a directory; its parent must be there."""
        self._target.make_directory(path)

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it."""
        self._target.rename(source, target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._target.remove(path)

    def sync_directory(self, path: str) -> None:
        """Return once the names in a directory are on stable storage."""
        self._target.sync_directory(path)

    def share(self, path: str, size_bytes: int, *, writable: bool) -> SharedBlock:
        """Map the start of a file that is at least that long."""
        return self._target.share(path, size_bytes, writable=writable)

    def lock(self, path: str, describe: Callable[[], bytes]) -> FileLock | bytes:
        """Try to lock a file, made if need be."""
        return self._target.lock(path, describe)

    def network_type(self, path: str) -> str | None:
        """Return the type of the network file system that a path is on; None for a local one."""
        return self._target.network_type(path)

    def call_in_forked_child(self, method: Callable[[], None]) -> None:
        """Have a method run in every child that this process forks, while its object is there."""
        self._target.call_in_forked_child(method)
