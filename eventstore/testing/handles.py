"""Open files, shared blocks and locks of the simulated file system.

They hold no state but whether they are open; the file system, which they call back, has the rest.
Errors are those of the real ones, as far as the contract test suite compares them.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol

from eventstore.testing.medium import Change

if TYPE_CHECKING:
    from collections.abc import Callable


class OpenNodes(Protocol):
    """What the open files ask of their file system, each by the number of its node."""

    def read_node(self, path: str, number: int, offset_bytes: int, size_bytes: int) -> bytes:
        """Return cached bytes of a file."""
        ...

    def size_of_node(self, path: str, number: int) -> int:
        """Return the cached length of a file."""
        ...

    def change_node(self, name: str, path: str, number: int, change: Change) -> None:
        """Change a file, or a part of the change if the call fails in its midst."""
        ...

    def sync_node(self, path: str, number: int) -> None:
        """Make the pending changes of a file durable."""
        ...

    def load_node(self, number: int, size_bytes: int) -> bytes:
        """Return mapped bytes; memory is read without a call."""
        ...

    @property
    def sleep(self) -> Callable[[float], object]:
        """Let some seconds go by."""
        ...

    def forget_open_file(self) -> None:
        """Count a file as closed."""
        ...

    def release_node(self, number: int) -> None:
        """Let the next one lock a file."""
        ...


class SimulatedFile:
    """An open file of a simulated file system."""

    __slots__ = ("_file_system", "_is_open", "_number", "_writable", "path")

    def __init__(self, file_system: OpenNodes, path: str, number: int, *, writable: bool) -> None:
        self.path = path
        self._file_system = file_system
        self._number = number
        self._writable = writable
        self._is_open = True

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        self._require_open()
        return self._file_system.read_node(self.path, self._number, offset_bytes, size_bytes)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Write all of the data there, or raise."""
        self._require_writable(errno.EBADF)
        change = Change(offset_bytes, bytes(data))
        self._file_system.change_node("write", self.path, self._number, change)

    def truncate(self, size_bytes: int) -> None:
        """Cut the file, or extend it with zeros."""
        self._require_writable(errno.EINVAL)
        change = Change(size_bytes, None)
        self._file_system.change_node("truncate", self.path, self._number, change)

    def size_bytes(self) -> int:
        """Return the file's length."""
        self._require_open()
        return self._file_system.size_of_node(self.path, self._number)

    def sync(self) -> None:
        """Return once content and length are on stable storage."""
        self._require_open()
        self._file_system.sync_node(self.path, self._number)

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        if self._is_open:
            self._is_open = False
            self._file_system.forget_open_file()

    def _require_open(self) -> None:
        if not self._is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)

    def _require_writable(self, code: int) -> None:
        self._require_open()
        if not self._writable:
            raise OSError(code, os.strerror(code), self.path)


_WAIT_SECONDS = 0.005


class SimulatedSharedBlock:
    """The start of a file: what is stored is pending, and seen at once by all who share it."""

    __slots__ = ("_file_system", "_is_open", "_number", "_path", "_size_bytes", "_writable")

    def __init__(
        self,
        file_system: OpenNodes,
        path: str,
        number: int,
        size_bytes: int,
        *,
        writable: bool,
    ) -> None:
        self._file_system = file_system
        self._path = path
        self._number = number
        self._size_bytes = size_bytes
        self._writable = writable
        self._is_open = True

    def load(self) -> bytes:
        """Return the bytes."""
        self._require_open()
        return self._file_system.load_node(self._number, self._size_bytes)

    def store(self, data: bytes) -> None:
        """Replace the bytes."""
        self._require_open()
        if not self._writable:
            raise TypeError("the block was not opened for writing")
        if len(data) != self._size_bytes:
            raise ValueError(f"{len(data)} bytes for a block of {self._size_bytes}")
        self._file_system.change_node("store", self._path, self._number, Change(0, data))

    def wait(self, known: bytes, seconds: float) -> None:
        """Return after a moment: nothing here is waited for."""
        _ = known
        self._file_system.sleep(min(seconds, _WAIT_SECONDS))

    def sync(self) -> None:
        """Return once the bytes are on stable storage."""
        self._require_open()
        self._file_system.sync_node(self._path, self._number)

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        if self._is_open:
            self._is_open = False
            self._file_system.forget_open_file()

    def _require_open(self) -> None:
        if not self._is_open:
            raise ValueError("mmap closed or invalid")


class SimulatedFileLock:
    """A lock on a file, between all who use the same simulated file system."""

    __slots__ = ("_file_system", "_number")

    def __init__(self, file_system: OpenNodes, number: int) -> None:
        self._file_system = file_system
        self._number: int | None = number

    @property
    def is_held(self) -> bool:
        """Whether it was not released yet."""
        return self._number is not None

    def has_left(self, path: str) -> bool:
        """Say no: directories can't be moved here."""
        return False

    def directory_now(self) -> str | None:
        """Raise: nobody asks for a directory that has not left."""
        raise OSError(errno.ENOTSUP, "directories can't be moved here")

    def release(self) -> None:
        """Let the next one have it; does nothing the second time."""
        number, self._number = self._number, None
        if number is not None:
            self._file_system.release_node(number)
