"""The seam between the engine and a medium: all that it asks of a file system.

A simulated file system can take the place of the machine's. Errors are the operating system's
`OSError`; what they mean is decided above (`eventstore.files.failures`). Reads and writes are
whole or raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from eventstore.files.paths import join

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


class File(Protocol):
    """An open file, addressed by offset."""

    path: str

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends.

        Allocates no more than the file holds there, or 1 MiB, whatever length is asked for.
        """

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Write all of the data there, or raise."""

    def truncate(self, size_bytes: int) -> None:
        """Cut the file, or extend it with zeros."""

    def size_bytes(self) -> int:
        """Return the file's length."""

    def sync(self) -> None:
        """Return once content and length are on stable storage."""

    def close(self) -> None:
        """Release the file; does nothing the second time."""


class SharedBlock(Protocol):
    """A few bytes of a file that all processes with the file open see change at once.

    A load may meet a store half done; what is kept in the block must show that by a checksum.
    """

    def load(self) -> bytes:
        """Return the bytes."""

    def store(self, data: bytes) -> None:
        """Replace the bytes."""

    def wait(self, known: bytes, seconds: float) -> None:
        """Return once the last 4 bytes differ from those of `known`, or after so long, or earlier.

        Raises:
            ValueError: the block is closed.
        """

    def sync(self) -> None:
        """Return once the bytes are on stable storage."""

    def close(self) -> None:
        """Release the file; does nothing the second time."""


class PlaceInLine(Protocol):
    """A place among those who wait for a lock, in the order in which they came."""

    def is_first(self) -> bool:
        """Say whether nobody came before."""

    def leave(self) -> None:
        """Let those behind move on."""


class FileLock(Protocol):
    """An exclusive lock between processes, and between handles of one process."""

    @property
    def is_held(self) -> bool:
        """Whether this process holds it: not once it was released, and not in a forked child."""

    def has_left(self, path: str) -> bool:
        """Say whether the directory of the locked file is no longer the one at a path.

        False once the lock has been released.
        """

    def directory_now(self) -> str | None:
        """Return where the directory of the locked file is now; None if it was removed.

        Raises:
            OSError: the system does not tell.
        """

    def release(self) -> None:
        """Let the next one have it; does nothing the second time."""


class GuardedPath(str):
    """A path in a locked directory, which is to be reached through the lock.

    Whoever may rename what is in the directory, or above it, could else lead a call elsewhere
    between one look at a path and the next. A file system that knows no descriptors takes it for
    the path that it is.

    Attributes:
        lock: on the directory.
        inner: the path from the directory on; empty for the directory itself.
    """

    __slots__ = ("inner", "lock")

    lock: FileLock
    inner: str

    def __new__(cls, path: str, directory: str, lock: FileLock) -> Self:
        """Make one of a path that is the directory's or below it."""
        made = super().__new__(cls, path)
        made.lock = lock
        made.inner = path[len(join(directory, "")) :]
        return made


class FileSystem(Protocol):
    """What the engine needs of a file system; paths are absolute."""

    def create(self, path: str) -> File:
        """Make a new empty file, open for reading and writing; raise if there is one."""

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a regular file that is there."""

    def exists(self, path: str) -> bool:
        """Say whether there is anything at the path, a dangling link included."""

    def is_directory(self, path: str) -> bool:
        """Say whether a directory, and not a link to one, is at the path."""

    def is_file(self, path: str) -> bool:
        """Say whether a regular file, and neither a link to one nor a device, is at the path."""

    def find_link(self, path: str) -> str | None:
        """Return the name of a symbolic link in a directory, if there is one."""

    def size_bytes(self, path: str) -> int:
        """Return the length of the file at the path."""

    def list_directory(self, path: str) -> list[str]:
        """Return the sorted names in a directory."""

    def make_directory(self, path: str) -> None:
        """Make a directory; its parent must be there."""

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty."""

    def owns(self, path: str) -> bool:
        """Say whether a directory belongs to the user that this process acts for."""

    def make_private(self, path: str) -> None:
        """Take all permissions on a directory from everyone but its owner."""

    def rename(self, source: str, target: str) -> None:
        """Give a file another name, replacing what had it."""

    def remove(self, path: str) -> None:
        """Remove a file."""

    def sync_directory(self, path: str) -> None:
        """Return once the names in a directory are on stable storage."""

    def share(self, path: str, size_bytes: int, *, writable: bool) -> SharedBlock:
        """Map the start of a file that is at least that long."""

    def lock(self, path: str, describe: Callable[[], bytes]) -> FileLock | bytes:
        """Try to lock a file, made if need be, and write a description of the holder into it.

        Returns:
            the lock, or the description that its present holder wrote.
        """

    def stand_in_line(self, path: str) -> PlaceInLine | None:
        """Return a place among those who wait for the lock on a file; None if there is no line."""

    def network_type(self, path: str) -> str | None:
        """Return the type of the network file system that a path is on; None for a local one."""

    def call_in_forked_child(self, method: Callable[[], None]) -> None:
        """Have a method run in every child that this process forks, while its object is there."""
