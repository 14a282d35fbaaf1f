"""A file system in front of another one: the base of those that add something to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import (
        File,
        FileLock,
        FileSystem,
        PlaceInLine,
        SharedBlock,
    )


class ForwardingFileSystem:
    """Passes every call on to `_target`."""

    def __init__(self, file_system: FileSystem) -> None:
        self._behind = file_system

    @property
    def behind(self) -> FileSystem:
        """The other one."""
        return self._behind

    @property
    def _target(self) -> FileSystem:
        """Where the next call goes; it may raise."""
        return self._behind

    def _to_read(self, path: str) -> str:
        """Return how the target is asked about a path; it may raise."""
        return path

    def _to_change(self, path: str) -> str:
        """Return how the target is asked to change what is at a path; it may raise."""
        return path

    def create(self, path: str) -> File:
        """Make a new empty file, open for reading and writing; raise if there is one."""
        return self._target.create(self._to_change(path))

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a regular file that is there."""
        reached = self._to_change(path) if writable else self._to_read(path)
        return self._target.open(reached, writable=writable)

    def exists(self, path: str) -> bool:
        """Say whether there is anything at the path, a dangling link included."""
        return self._target.exists(self._to_read(path))

    def is_directory(self, path: str) -> bool:
        """Say whether a directory, and not a link to one, is at the path."""
        return self._target.is_directory(self._to_read(path))

    def is_file(self, path: str) -> bool:
        """Say whether a regular file, and neither a link to one nor a device, is at the path."""
        return self._target.is_file(self._to_read(path))

    def find_link(self, path: str) -> str | None:
        """Return the name of a symbolic link in a directory, if there is one."""
        return self._target.find_link(self._to_read(path))

    def size_bytes(self, path: str) -> int:
        """Return the length of the file at the path."""
        return self._target.size_bytes(self._to_read(path))

    def list_directory(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""
        return self._target.list_directory(self._to_read(path))

    def make_directory(self, path: str) -> None:
        """Make a directory; its parent must be there."""
        self._target.make_directory(self._to_change(path))

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty."""
        self._target.remove_directory(self._to_change(path))

    def owns(self, path: str) -> bool:
        """Say whether a directory belongs to the user that this process acts for."""
        return self._target.owns(self._to_read(path))

    def make_private(self, path: str) -> None:
        """Take all permissions on a directory from everyone but its owner."""
        self._target.make_private(self._to_change(path))

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it."""
        self._target.rename(self._to_change(source), self._to_change(target))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._target.remove(self._to_change(path))

    def sync_directory(self, path: str) -> None:
        """Return once the names in a directory are on stable storage."""
        self._target.sync_directory(self._to_change(path))

    def share(self, path: str, size_bytes: int, *, writable: bool) -> SharedBlock:
        """Map the start of a file that is at least that long."""
        reached = self._to_change(path) if writable else self._to_read(path)
        return self._target.share(reached, size_bytes, writable=writable)

    def lock(self, path: str, describe: Callable[[], bytes]) -> FileLock | bytes:
        """Try to lock a file, made if need be."""
        return self._target.lock(path, describe)

    def stand_in_line(self, path: str) -> PlaceInLine | None:
        """Return a place among those who wait for the lock on a file; None if there is no line."""
        return self._target.stand_in_line(path)

    def network_type(self, path: str) -> str | None:
        """Return the type of the network file system that a path is on; None for a local one."""
        return self._target.network_type(path)

    def call_in_forked_child(self, method: Callable[[], None]) -> None:
        """Have a method run in every child that this process forks, while its object is there."""
        self._target.call_in_forked_child(method)
