"""The floor: one pwrite and one fdatasync of as many bytes, into a preallocated file.

With threads, each writes and syncs for itself; the file system decides what these syncs share.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tools.bench.peers import Create

_FILE_BYTES = 64 * 1024 * 1024


class Floor:
    """A file that records are written to, from its start again when it is full."""

    def __init__(self, path: Path, record_bytes: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        for offset in range(0, _FILE_BYTES, 1024 * 1024):
            os.pwrite(self._descriptor, bytes(1024 * 1024), offset)
        os.fsync(self._descriptor)
        self._record = b"r" * record_bytes
        self._turns = itertools.count()
        self._records_max = _FILE_BYTES // record_bytes
        self.versions: Mapping[str, str] = {}

    @contextlib.contextmanager
    def worker(self) -> Iterator[Create]:
        """Give what one thread works with."""
        yield self._append

    def _append(self, _number: int) -> None:
        offset = next(self._turns) % self._records_max * len(self._record)
        os.pwrite(self._descriptor, self._record, offset)
        os.fdatasync(self._descriptor)

    def batch(self, first: int, count: int) -> None:
        """No such thing."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def open_peer(directory: Path, settings: Mapping[str, Any]) -> Floor:
    """Preallocate the file; the records have `record_bytes`."""
    return Floor(directory / "floor", settings["record_bytes"])
