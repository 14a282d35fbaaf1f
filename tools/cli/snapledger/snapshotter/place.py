"""One driver a root and a socket.

gRPC takes over the path of a living server silently, and the old server, when it stops, unlinks the
new one's. So a root and a socket each have a lock file, held while the driver runs and never
removed, and a socket that somebody answers on is left alone even without one.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from snapledger.snapshotter.directories import sync

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK = "snapshotter.lock"
"""In each root; held by whoever uses it."""

SOCKET_PATH_BYTES_MAX = 107
_ROOT_ADVICE = "give --root a directory on a local file system"
_FORBIDDEN_IN_ROOT = ",:\\"
"""They separate the options of a mount, and the directories of an overlay."""


class PlaceError(Exception):
    """The driver can't run at this root or socket; the message says why."""


def checked_root(path: str) -> str:
    """Return the absolute path of a root; make the directory, durably, if there is none.

    Raises:
        PlaceError: mounts can't name it, it can't be made, it is no directory or another user's,
            or others may write to it.
    """
    root = os.path.abspath(path)
    if any(character in root for character in _FORBIDDEN_IN_ROOT):
        raise PlaceError(f"{root}: a root with a comma, colon or backslash can't be mounted from")
    try:
        os.makedirs(root, 0o700, exist_ok=True)
        sync(os.path.dirname(root))
    except FileExistsError:
        raise PlaceError(f"{root}: it is no directory: {_ROOT_ADVICE}") from None
    except OSError as error:
        raise PlaceError(f"{root}: it can't be made: {error.strerror}: {_ROOT_ADVICE}") from error
    _check_directory(root)
    return root


def checked_socket(path: str) -> str:
    """Return the absolute path of a socket whose directory is there and private to be written to.

    Raises:
        PlaceError: the path is too long, or the directory is not there or not safe.
    """
    address = os.path.abspath(path)
    if len(os.fsencode(address)) > SOCKET_PATH_BYTES_MAX:
        raise PlaceError(f"{address}: longer than the {SOCKET_PATH_BYTES_MAX} bytes of a socket")
    directory = os.path.dirname(address)
    if not os.path.isdir(directory):
        raise PlaceError(f"{directory}: no such directory: make it first, writable by you alone")
    _check_directory(directory)
    return address


def _check_directory(path: str) -> None:
    status = os.stat(path)
    if status.st_uid not in {os.geteuid(), 0}:
        raise PlaceError(f"{path}: belongs to user {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PlaceError(f"{path}: others may write to it: `chmod go-w` it first")


@contextmanager
def held(path: str, what: str) -> Iterator[None]:
    """Hold a lock file until the end of the block.

    Raises:
        PlaceError: another process holds it, or it can't be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise PlaceError(
            f"{what}: its lock file {path} can't be opened: {error.strerror}: "
            "choose a directory on a local file system that you may write to"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlaceError(
                f"{what}: another snapledger-snapshotter serves it: stop that one first"
            ) from None
        yield
    finally:
        os.close(descriptor)


def clear_socket(address: str) -> None:
    """Remove a socket that nobody listens on, so that one can be bound there.

    Raises:
        PlaceError: somebody does, or what is there is no socket.
    """
    try:
        mode = os.lstat(address).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise PlaceError(f"{address}: it is there and no socket: move it away")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            os.unlink(address)
            return
    raise PlaceError(f"{address}: another process listens on it")
