"""Holding the directory of a store: who has its lock, and how long others wait for it."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from eventstore.directory.contents import make_root, require_local, require_lock_file
from eventstore.errors import StoreLockedError
from eventstore.files.content import read_file
from eventstore.files.guarded import GuardedFileSystem
from eventstore.files.paths import join
from eventstore.format.names import LOCK_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventstore.files.interface import FileSystem, PlaceInLine
    from eventstore.options import StoreOptions

_LOCK_POLL_SECONDS = 0.02
_FIRST_POLL_SECONDS = 0.002
"""Of the first in line, who alone asks for the lock."""
_VANISHED_ROOTS_MAX = 10
_DESCRIPTION_BYTES_MAX = 4096
_NAME_CHARACTERS_MAX = 255
_PROCESS_NUMBER_MAX = 1 << 32
_NOBODY_NAMED = "another process, whose name is not in the LOCK file"


def hold_fit(
    file_system: FileSystem,
    path: str,
    options: StoreOptions,
    timeout_seconds: float | None,
    require: Callable[[FileSystem], None],
) -> GuardedFileSystem:
    """Lock the place of a store that is as it must be.

    Args:
        file_system: that the store is on.
        path: of the store.
        options: say whether it may be on a network file system.
        timeout_seconds: how long to wait for another holder; None not at all.
        require: raises if the place is not as it must be.

    Raises:
        UnsupportedFileSystemError: the path is on a network file system.
        NotAStoreError: as of `hold`.
        StoreLockedError: as of `hold`.
    """
    if not options.allow_network_file_system:
        require_local(file_system, path)
    # Before a lock file is made in what may be anybody's directory; what counts comes under the
    # lock. A making that fails may remove its directory meanwhile.
    with suppress(FileNotFoundError):
        require(file_system)
    guarded = hold(file_system, path, timeout_seconds)
    try:
        require(guarded)
        return guarded
    except BaseException:
        guarded.release()
        raise


def hold(file_system: FileSystem, path: str, timeout_seconds: float | None) -> GuardedFileSystem:
    """Lock the place of a store, whose directory is made if need be.

    Those who wait are let in in the order in which they came, where the system keeps a line; who
    doesn't wait is refused, or let in if he comes just when the lock is free.

    Args:
        file_system: that the store is on.
        path: of the store.
        timeout_seconds: how long to wait for another holder; None not at all.

    Returns:
        the file system as the holder sees it; `release` ends that.

    Raises:
        NotAStoreError: no directory can be made there, or the lock file is no file.
        StoreLockedError: another process, or another handle of this one, holds the store.
    """
    deadline = time.monotonic() + (timeout_seconds or 0.0)
    vanished = 0
    made_root = False
    place: PlaceInLine | None = None
    try:
        while True:
            made_root = make_root(file_system, path) or made_root
            lock_path = join(path, LOCK_NAME)
            if place is None and timeout_seconds:
                place = file_system.stand_in_line(lock_path)
            is_first = place is None or place.is_first()
            try:
                lock = file_system.lock(lock_path, _describe_holder) if is_first else None
            except FileNotFoundError:
                # A making that failed has removed the directory that it had made, in between.
                vanished += 1
                if vanished == _VANISHED_ROOTS_MAX:
                    raise
                made_root = False
                continue
            except OSError:
                require_lock_file(file_system, path)
                raise
            if lock is not None and not isinstance(lock, bytes):
                return GuardedFileSystem(file_system, lock, path, made_root=made_root)
            if time.monotonic() >= deadline:
                told = _description_in(file_system, lock_path) if lock is None else lock
                raise StoreLockedError(
                    f"{path}: the store is held by {_holder_text(told)}",
                    "stop it, wait for it, or open with read_only=True",
                )
            time.sleep(_FIRST_POLL_SECONDS if is_first and place else _LOCK_POLL_SECONDS)
    finally:
        if place is not None:
            place.leave()


def _description_in(file_system: FileSystem, lock_path: str) -> bytes:
    """Return what the holder wrote, for who may not ask for the lock, since others came before."""
    try:
        return read_file(file_system, lock_path, _DESCRIPTION_BYTES_MAX)
    except OSError:
        return b""


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
    if not is_sane:
        return _NOBODY_NAMED
    process = f"process {number} on {host} since {since}"
    if (number, host) == (os.getpid(), socket.gethostname()):
        return f"another handle of this process ({process})"
    return process
