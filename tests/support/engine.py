"""What the engine's tests share: small stores, hashes of a tree, damage, a failing medium."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from support.ledger import ACCOUNTS, Ledger, Totals, deposit, open_account

from eventstore import EventStore, StoreOptions
from eventstore.files.handles import LocalFile
from eventstore.files.local import LocalFileSystem
from eventstore.format.durable import pack_durable
from eventstore.format.names import (
    ARCHIVE_NAME,
    CHECKPOINTS_NAME,
    DURABLE_NAME,
    LOCK_NAME,
    WAL_NAME,
)
from eventstore.format.segment import SEGMENT_HEADER_BYTES, unpack_segment_header
from eventstore.log.reader import Record, SegmentScanner, read_segment_header, start_of
from eventstore.log.segments import MemoryFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eventstore import Receipt
    from eventstore.files.interface import FileLock

SMALL = StoreOptions(segment_bytes=4096, background=False)
"""Segments that roll after a few dozen batches; checkpoints only on demand."""


def open_store(path: Path, **options: Any) -> EventStore:
    """Open a store with both projections of the ledger and small segments."""
    options.setdefault("options", SMALL)
    return EventStore.open(path, [Ledger(), Totals()], **options)


def add(store: EventStore, count: int = 1, note: str = "") -> list[Receipt]:
    """Commit a number of batches, each of which pays 1 into account "a"."""
    receipts = []
    for _ in range(count):
        with store.transaction(writable=True) as tx:
            if tx.get(ACCOUNTS, "a") is None:
                open_account(tx, "a")
            deposit(tx, "a", 1, note)
        assert tx.receipt is not None
        receipts.append(tx.receipt)
    return receipts


def balance(store: EventStore) -> int:
    """Return what is on account "a": how many batches `add` has committed to the store."""
    with store.transaction() as tx:
        account = tx.get(ACCOUNTS, "a")
        return account.balance if account else 0


def tree(path: Path) -> dict[str, tuple[int, str]]:
    """Return the mode and the SHA-256 of everything in a store; the lock file only by mode."""
    found = {}
    for entry in sorted(path.rglob("*")):
        status = entry.lstat()
        digest = ""
        if entry.is_file() and entry.name != LOCK_NAME:
            digest = hashlib.sha256(entry.read_bytes()).hexdigest()
        found[str(entry.relative_to(path))] = (status.st_mode, digest)
    return found


def segments(path: Path) -> list[Path]:
    """Return the segments in the log, in order."""
    return sorted((path / WAL_NAME).glob("*.log"))


def checkpoints(path: Path) -> list[Path]:
    """Return the checkpoints, in order."""
    return sorted((path / CHECKPOINTS_NAME).glob("*.ckpt"))


def archived(path: Path) -> list[Path]:
    """Return the archived segments, in order."""
    return sorted((path / ARCHIVE_NAME).glob("*.log.gz"))


def records(segment: Path) -> list[Record]:
    """Return the valid records of a segment."""
    file = MemoryFile(str(segment), segment.read_bytes())
    header = read_segment_header(file)
    return list(SegmentScanner(file, header, start_of(header)))


def end_of_records(segment: Path) -> int:
    """Return where the valid records of a segment end."""
    found = records(segment)
    if not found:
        return SEGMENT_HEADER_BYTES
    return found[-1].end_bytes


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Write over a part of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def flip(path: Path, offset: int) -> None:
    """Change one byte of a file."""
    overwrite(path, offset, bytes([path.read_bytes()[offset] ^ 0xFF]))


def state_durable(path: Path, revision: int) -> None:
    """Make the `durable` file state a revision, as a power loss may leave an older one."""
    [segment, *_] = segments(path)
    header = unpack_segment_header(segment.read_bytes()[:SEGMENT_HEADER_BYTES])
    (path / DURABLE_NAME).write_bytes(pack_durable(header.store_id, revision))


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Stretch a script in another process, with the paths of this one."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


class HookedFile(LocalFile):
    """A file that tells its file system of every call before it is made."""

    __slots__ = ("_hook",)

    def __init__(self, path: str, descriptor: int, hook: Callable[[str, str], object]) -> None:
        super().__init__(path, descriptor)
        self._hook = hook

    def write(self, offset_bytes: int, data: bytes | memoryview) -> None:
        self._hook("write", self.path)
        super().write(offset_bytes, data)

    def sync(self) -> None:
        self._hook("sync", self.path)
        super().sync()


class HookedFileSystem(LocalFileSystem):
    """The real file system, with a hook before every call that changes something.

    The hook gets the name of the call and the path; what it raises, the call raises.
    """

    def __init__(self, hook: Callable[[str, str], object] = lambda call, path: None) -> None:
        self.hook = hook

    def _called(self, call: str, path: str) -> None:
        self.hook(call, path)

    def create(self, path: str) -> HookedFile:
        self._called("create", path)
        return self._hooked(super().create(path))

    def open(self, path: str, *, writable: bool = False) -> HookedFile:
        self._called("open", path)
        return self._hooked(super().open(path, writable=writable))

    def list_directory(self, path: str) -> list[str]:
        self._called("list", path)
        return super().list_directory(path)

    def make_directory(self, path: str) -> None:
        self._called("make_directory", path)
        super().make_directory(path)

    def remove_directory(self, path: str) -> None:
        self._called("remove_directory", path)
        super().remove_directory(path)

    def lock(self, path: str, describe: Callable[[], bytes]) -> FileLock | bytes:
        self._called("lock", path)
        return super().lock(path, describe)

    def rename(self, source: str, target: str) -> None:
        self._called("rename", target)
        super().rename(source, target)

    def remove(self, path: str) -> None:
        self._called("remove", path)
        super().remove(path)

    def sync_directory(self, path: str) -> None:
        self._called("sync_directory", path)
        super().sync_directory(path)

    def _hooked(self, file: Any) -> HookedFile:
        return HookedFile(file.path, file._descriptor, self._called)


class _ReadHookedFile(HookedFile):
    __slots__ = ()

    def read(self, offset_bytes: int, size_bytes: int) -> bytes:
        data = super().read(offset_bytes, size_bytes)
        self._hook("read", self.path)
        return data


class ReadHookedFileSystem(HookedFileSystem):
    """The real file system, with a hook also *after* every read: "read", and the path."""

    def _hooked(self, file: Any) -> HookedFile:
        return _ReadHookedFile(file.path, file._descriptor, self._called)


class Failing:
    """A hook that makes some calls fail with an error number, once it is armed.

    Args:
        error_number: of the OSError.
        calls: names of the calls that fail.
        path_part: only paths with this in them fail.
        after: how many such calls succeed first.
    """

    def __init__(
        self,
        error_number: int = errno.EIO,
        calls: str = "sync",
        path_part: str = "",
        after: int = 0,
    ) -> None:
        self._error_number = error_number
        self._calls = calls.split()
        self._path_part = path_part
        self._left = after
        self._lock = threading.Lock()
        self.armed = False
        self.failures = 0

    def __call__(self, call: str, path: str) -> None:
        if not self.armed or call not in self._calls or self._path_part not in path:
            return
        with self._lock:
            self._left -= 1
            if self._left >= 0:
                return
            self.failures += 1
        raise OSError(self._error_number, os.strerror(self._error_number), path)
