"""Contents of files: read and written whole, or read through one read-ahead buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventstore.files.interface import File, FileSystem

_WINDOW_BYTES = 1024 * 1024


def write_file(file_system: FileSystem, path: str, data: bytes) -> None:
    """Make a file with a content, synced; its name is durable once the directory is synced."""
    file = file_system.create(path)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()


def write_temporary(file_system: FileSystem, path: str, data: bytes) -> None:
    """Make a file as `write_file` does, in the place of what an interrupted attempt has left."""
    if file_system.exists(path):
        file_system.remove(path)
    write_file(file_system, path, data)


def read_file(file_system: FileSystem, path: str, size_bytes_max: int | None = None) -> bytes:
    """Return the content of a file, or no more than so many bytes from its start."""
    file = file_system.open(path)
    try:
        return file.read(0, file.size_bytes() if size_bytes_max is None else size_bytes_max)
    finally:
        file.close()


class Window:
    """A file read through one read-ahead buffer."""

    __slots__ = ("_buffer", "_file", "_start_bytes")

    def __init__(self, file: File) -> None:
        self._file = file
        self._start_bytes = 0
        self._buffer = b""

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there; fewer only where the file ends."""
        start = offset_bytes - self._start_bytes
        if start < 0 or start + size_bytes > len(self._buffer):
            self._buffer = self._file.read(offset_bytes, max(size_bytes, _WINDOW_BYTES))
            self._start_bytes, start = offset_bytes, 0
        return self._buffer[start : start + size_bytes]

    def at_hand(self, offset_bytes: int) -> tuple[bytes, int]:
        """Return what is in the buffer, and where in it the bytes at an offset are, if they are."""
        start = offset_bytes - self._start_bytes
        return (self._buffer, start) if start >= 0 else (b"", 0)

    def is_zero_from(self, offset_bytes: int) -> bool:
        """Say whether the file holds nothing but zeros from an offset on."""
        while data := self.read(offset_bytes, _WINDOW_BYTES):
            if data.count(0) != len(data):
                return False
            offset_bytes += len(data)
        return True
