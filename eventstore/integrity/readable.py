"""What can still be read of a medium that has gone bad: zeros stand for what can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventstore.files.failures import is_unreadable
from eventstore.files.forwarding import ForwardingFileSystem
from eventstore.files.paths import join
from eventstore.log.segments import MemoryFile, ReadOnlyFile
from eventstore.reports import Damage

if TYPE_CHECKING:
    from eventstore.files.interface import File, FileSystem

_BLOCK_BYTES = 4096


class ReadableFileSystem(ForwardingFileSystem):
    """Opens the files of a damaged store, and remembers what of them could not be read."""

    def __init__(self, file_system: FileSystem, store_path: str) -> None:
        super().__init__(file_system)
        self._files_path = join(store_path, "")
        self._found: dict[tuple[str, int], Damage] = {}

    def open(self, path: str, *, writable: bool = False) -> File:
        """Open a file; one of the store for reading, as far as it can be read."""
        if not path.startswith(self._files_path):
            return super().open(path, writable=writable)
        try:
            return ReadableFile(super().open(path), self)
        except OSError as error:
            if not is_unreadable(error):
                raise
            self.note(path, 0, 0, error)
            return MemoryFile(path, b"")

    def note(self, path: str, offset_bytes: int, size_bytes: int, error: OSError) -> None:
        """Remember a part that could not be read; all of the file if it could not be opened."""
        reason = f"can't be read: {error.strerror}"
        self._found[path, offset_bytes] = Damage(path, offset_bytes, size_bytes, reason)

    def unreadable(self) -> list[Damage]:
        """Return every part that could not be read, each once, by path and offset."""
        return [self._found[place] for place in sorted(self._found)]


class ReadableFile(ReadOnlyFile):
    """A file that is only read, block by block where the medium is bad."""

    def __init__(self, file: File, reading: ReadableFileSystem) -> None:
        self.path = file.path
        self._file = file
        self._reading = reading

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        """Return the bytes there, zeros for those that can't be read."""
        try:
            return self._file.read(offset_bytes, size_bytes)
        except OSError as error:
            if not is_unreadable(error):
                raise
        end = min(offset_bytes + size_bytes, self.size_bytes())
        parts = []
        while offset_bytes < end:
            following = min(end, offset_bytes - offset_bytes % _BLOCK_BYTES + _BLOCK_BYTES)
            parts.append(self._read_block(offset_bytes, following - offset_bytes))
            offset_bytes = following
        return b"".join(parts)

    def size_bytes(self) -> int:
        """Return the file's length."""
        return self._file.size_bytes()

    def close(self) -> None:
        """Release the file; does nothing the second time."""
        self._file.close()

    def _read_block(self, offset_bytes: int, size_bytes: int) -> bytes:
        try:
            return self._file.read(offset_bytes, size_bytes)
        except OSError as error:
            if not is_unreadable(error):
                raise
            block = offset_bytes - offset_bytes % _BLOCK_BYTES
            self._reading.note(self.path, block, _BLOCK_BYTES, error)
            return bytes(size_bytes)
