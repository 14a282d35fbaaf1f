"""Holding the place of a store: who has its lock, and the file system as the holder sees it.

The lock is on the directory, wherever that is moved, but the names that the engine uses are paths.
Were a store moved while it is open, and another one made in its place, the writer of the first
would roll, checkpoint and compact in the second; and who owns a directory above or in the store
could lead a writer of greater rights elsewhere, by a link. So the holder's calls

- are made only while the locked directory is still the one at the store's path; if it is not, they
  raise `OSError` (ESTALE). A log that meets that has failed: what was acknowledged is in the
  directory that was moved;
- go by the descriptor of the locked directory (`eventstore.files.local.HeldPath`), so that a
  directory that is swapped between two calls leads nowhere else;
- change nothing once the lock was released, nor in a forked child, which has it no more. What is
  read then is read by path, as by anybody.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from eventstore.errors import StoreLockedError
from eventstore.files.forwarding import ForwardingFileSystem
from eventstore.files.interface import HeldPath
from eventstore.files.paths import join
from eventstore.format.names import LOCK_NAME
from eventstore.place import make_root, require_local

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import FileLock, FileSystem
    from eventstore.options import StoreOptions

_LOCK_POLL_SECONDS = 0.02
_VANISHED_ROOTS_MAX = 10
_DESCRIPTION_BYTES_MAX = 4096
_NAME_CHARACTERS_MAX = 255
_PROCESS_NUMBER_MAX = 1 << 32
_NOBODY_NAMED = "another process, whose name is not in the LOCK file"


class HeldFileSystem(ForwardingFileSystem):
    """Another file system, for as long as a lock holds the directory at a path.

    Attributes:
        made_root: whether the directory was made for this holder.
    """

    def __init__(
        self, file_system: FileSystem, lock: FileLock, path: str, *, made_root: bool = False
    ) -> None:
        super().__init__(file_system)
        self._lock = lock
        self._path = path
        self.made_root = made_root

    @property
    def _target(self) -> FileSystem:
        if self._lock.has_left(self._path):
            raise OSError(
                errno.ESTALE,
                "the store was moved or removed while it was open: open it where it is now",
                self._path,
            )
        return super()._target

    def _to_read(self, path: str) -> str:
        return self._held(path) if self._lock.is_held else path

    def _to_change(self, path: str) -> str:
        if not self._lock.is_held:
            raise OSError(errno.EBADF, "the store is no longer held by this process", path)
        return self._held(path)

    def _held(self, path: str) -> str:
        if path == self._path or path.startswith(join(self._path, "")):
            return HeldPath(path, self._path, self._lock)
        return path

    def remove_directory(self, path: str) -> None:
        """Remove a directory, which must be empty; the locked one too."""
        if path == self._path:
            # It has no name in itself. By path, this can take away nothing but an empty directory.
            self._to_change(path)
            self._target.remove_directory(path)
            return
        super().remove_directory(path)

    def release(self) -> None:
        """Let the next one have the store; does nothing the second time."""
        self._lock.release()


def hold_fit(
    file_system: FileSystem,
    path: str,
    options: StoreOptions,
    timeout_seconds: float | None,
    require: Callable[[FileSystem], None],
) -> HeldFileSystem:
    """Lock the place of a store that is as it must be.

    Args:
        file_system: where.
        path: of the store.
        options: say whether it may be on a network file system.
        timeout_seconds: how long to wait for another holder; None not at all.
        require: raises if the place is not as it must be.

    Raises:
        UnsupportedFileSystemError: the path is on a network file system.
        NotAStoreError, StoreLockedError: as of `hold`.
    """
    if not options.allow_network_file_system:
        require_local(file_system, path)
    # Before a lock file is made in what may be anybody's directory; what counts comes under the
    # lock. A making that fails may remove its directory meanwhile.
    with suppress(FileNotFoundError):
        require(file_system)
    held = hold(file_system, path, timeout_seconds)
    try:
        require(held)
        return held
    except BaseException:
        held.release()
        raise


def hold(file_system: FileSystem, path: str, timeout_seconds: float | None) -> HeldFileSystem:
    """Lock the place of a store, whose directory is made if need be.

    Args:
        file_system: where.
        path: of the store.
        timeout_seconds: how long to wait for another holder; None not at all.

    Returns:
        the file system as the holder sees it; `release` ends that.

    Raises:
        NotAStoreError: no directory can be made there.
        StoreLockedError: another process, or another handle of this one, holds the store.
    """
    deadline = time.monotonic() + (timeout_seconds or 0.0)
    vanished = 0
    made_root = False
    while True:
        made_root = make_root(file_system, path) or made_root
        try:
            lock = file_system.lock(join(path, LOCK_NAME), _describe_holder)
        except FileNotFoundError:
            # A making that failed has removed the directory that it had made, in between.
            vanished += 1
            if vanished == _VANISHED_ROOTS_MAX:
                raise
            made_root = False
            continue
        if not isinstance(lock, bytes):
            return HeldFileSystem(file_system, lock, path, made_root=made_root)
        if time.monotonic() >= deadline:
            raise StoreLockedError(
                f"{path}: the store is held by {_holder_text(lock)}",
                "stop it, wait for it, or open with read_only=True",
            )
        time.sleep(_LOCK_POLL_SECONDS)


def _describe_holder() -> bytes:
    holder = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return json.dumps(holder).encode() + b"\n"


def _holder_text(description: bytes) -> str:
    """Return who holds a lock, by what the lock file says: anybody may have written that."""
    try:
        holder = json.loads(description[:_DESCRIPTION_BYTES_MAX])
        number, host, since = holder["pid"], holder["host"], holder["since"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _NOBODY_NAMED
    is_sane = (
        type(number) is int
        and 0 < number < _PROCESS_NUMBER_MAX
        and all(
            isinstance(text, str) and text.isprintable() and len(text) <= _NAME_CHARACTERS_MAX
            for text in (host, since)
        )
    )
    return f"process {number} on {host} since {since}" if is_sane else _NOBODY_NAMED
