"""Open files, shared blocks and locks of this machine.

Reads and writes are whole or raise: short transfers are continued here.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os

from eventstore.files.content import _WINDOW_BYTES
from eventstore.files.failures import limits_are_told, raise_if_limit
from eventstore.files.futex import WORD_BYTES, Futex
from eventstore.files.platform import sync_descriptor

OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
"""Of every open: no child of an exec has the file, and it is reached through no link."""


class LocalFile:
    """A regular file of the operating system."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        if size_bytes > _WINDOW_BYTES:
            # The system call is given memory for all of it, although the length may be a lie.
            size_bytes = max(0, min(size_bytes, self.size_bytes() - offset_bytes))
        try:
            data = os.pread(self._descriptor, size_bytes, offset_bytes)
        except OSError as error:
            error.filename = self.path
            raise
        if len(data) == size_bytes or not data:
            return data
        parts = [data]
        done_bytes = len(data)
        while done_bytes < size_bytes and data:
            data = os.pread(self._descriptor, size_bytes - done_bytes, offset_bytes + done_bytes)
            parts.append(data)
            done_bytes += len(data)
        return b"".join(parts)

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        """Write all of the data there, or raise."""
        try:
            written = os.pwrite(self._descriptor, data, offset_bytes)
            while written < len(data):
                rest = memoryview(data)[written:]
                more = os.pwrite(self._descriptor, rest, offset_bytes + written)
                if more == 0:
                    raise OSError(errno.EIO, "the file takes no more bytes", self.path)
                written += more
        except OSError as error:
            raise_if_limit(error, self.path)
            raise

    def truncate(self, size_bytes: int) -> None:
        """Cut the file, or extend it with zeros."""
        with limits_are_told(self.path):
            os.ftruncate(self._descriptor, size_bytes)

    def size_bytes(self) -> int:
        """Return the file's length."""
        return os.fstat(self._descriptor).st_size

    def sync(self) -> None:
        """Return once content and length are on stable storage."""
        sync_descriptor(self._descriptor)

    def mapped(self, size_bytes: int) -> mmap.mmap:
        """Return the start of the file, mapped for reading; ValueError if it is shorter."""
        with limits_are_told(self.path):
            return mmap.mmap(self._descriptor, size_bytes, access=mmap.ACCESS_READ)

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LocalSharedBlock:
    """The start of a file, mapped for reading, and written like any file.

    Storing into a mapping would take less than the microsecond of a write. But where the page then
    needs a block that is not to be had (a full disk under a file that shares its blocks with a
    copy, a file system that has shut down), the kernel tells a mapping by a signal that ends the
    process, and a write by an error. A reader may catch a write half done, which the checksum in
    the block shows.
    """

    __slots__ = ("_file", "_futex", "_mapping", "_size_bytes")

    def __init__(self, mapping: mmap.mmap, size_bytes: int, file: LocalFile | None) -> None:
        self._mapping = mapping
        self._size_bytes = size_bytes
        self._file = file
        self._futex = Futex(mapping, size_bytes - WORD_BYTES)

    def load(self) -> bytes:
        """Return the bytes."""
        return self._mapping[: self._size_bytes]

    def store(self, data: bytes) -> None:
        """Replace the bytes."""
        if len(data) != self._size_bytes:
            raise ValueError(f"{len(data)} bytes for a block of {self._size_bytes}")
        self._written_file().write(0, data)
        self._futex.wake()

    def wait(self, known: bytes, seconds: float) -> None:
        """Return once the last bytes differ from those known, or after so long, or earlier."""
        self._futex.wait(known[-WORD_BYTES:], seconds)

    def sync(self) -> None:
        """Return once the bytes are on stable storage."""
        self._written_file().sync()

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        self._mapping.close()
        if self._file is not None:
            self._file.close()

    def _written_file(self) -> LocalFile:
        if self._file is None:
            raise TypeError("the block was not opened for writing")
        return self._file


def _let_go() -> OSError:
    return OSError(errno.EBADF, "the lock on the store has been released")


class _Locked:
    """A locked file, which is closed once nobody refers to it.

    Whoever uses the descriptor refers to it. Were it closed under a thread that is about to use it,
    the kernel could have given its number to another file meanwhile.
    """

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        self.close()

    def unlock(self) -> None:
        """Let the next one lock it."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close it; does nothing the second time."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LocalFileLock:
    """Flocks held on an open file and on its directory.

    A fork shares them: they are free when every process has closed the files, or one has unlocked
    them. So the process that took them unlocks them, and a child only closes its copies.
    """

    __slots__ = ("_locked", "_process")

    def __init__(self, descriptor: int) -> None:
        # The directory, then the file in it.
        self._locked = [_Locked(descriptor)]
        self._process = os.getpid()

    def __del__(self) -> None:
        # An interrupt may come before anybody has the lock, or the handle that it is for.
        if hasattr(self, "_process"):
            self.release()

    def add(self, descriptor: int) -> None:
        """Hold another locked file as well."""
        self._locked.append(_Locked(descriptor))

    @property
    def is_held(self) -> bool:
        """Whether this process holds it: not once it was released, and not in a forked child."""
        return bool(self._locked) and os.getpid() == self._process

    def open_directory(self, inner: str) -> int:
        """Return a new descriptor of a directory in the locked one; of itself for an empty name."""
        flags = OPEN_FLAGS | os.O_RDONLY | os.O_DIRECTORY
        locked = self._directory()
        return os.open(inner or ".", flags, dir_fd=locked.descriptor)

    def directory_status(self) -> os.stat_result:
        """Return the status of the locked directory."""
        locked = self._directory()
        return os.fstat(locked.descriptor)

    def has_left(self, path: str) -> bool:
        """Say whether the directory of the locked file is no longer the one at a path."""
        try:
            locked = self._locked[0]
            return not os.path.samestat(os.stat(path), os.fstat(locked.descriptor))
        except IndexError:
            return False
        except (FileNotFoundError, NotADirectoryError):
            return True

    def directory_now(self) -> str | None:
        """Return where the directory of the locked file is now; None if it was removed."""
        locked = self._directory()
        status = os.fstat(locked.descriptor)
        if status.st_nlink == 0:
            return None
        path = os.readlink(f"/proc/self/fd/{locked.descriptor}")
        if not os.path.samestat(os.stat(path), status):
            raise FileNotFoundError(errno.ENOENT, "the locked directory is elsewhere", path)
        return path

    def release(self) -> None:
        """Let the next one have it; does nothing the second time."""
        while self._locked:
            locked = self._locked.pop()
            if os.getpid() == self._process:
                locked.unlock()
            else:
                # Only the thread that forked is here, so nobody uses it.
                locked.close()

    def _directory(self) -> _Locked:
        try:
            return self._locked[0]
        except IndexError:
            raise _let_go() from None
