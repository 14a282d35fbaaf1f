"""Bytes in memory as the files that targets have read."""

from __future__ import annotations

from eventstore.files.local import LocalFileSystem
from eventstore.log.segments import MemoryFile

STORE_ID = bytes(range(16))


class FuzzedFile(MemoryFile):
    """A file that is there in memory, to be read and nothing else."""

    def __init__(self, data: bytes) -> None:
        super().__init__("fuzzed", data)

    def sync(self) -> None:
        raise AssertionError("a reader has synced")


class FilesFileSystem(LocalFileSystem):
    """Some files in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def open(self, path: str, *, writable: bool = False) -> FuzzedFile:
        """Open a file."""
        return FuzzedFile(self._files[path])


class BytesFileSystem(LocalFileSystem):
    """One file under every name."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, path: str, *, writable: bool = False) -> FuzzedFile:
        """Open the file."""
        return FuzzedFile(self._data)
