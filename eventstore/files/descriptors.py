"""From a path to a descriptor.

- A file is never opened through a symbolic link, is closed on exec, and never takes the
  descriptors 0 to 2, so that a stray print can't land in the log.
- A `GuardedPath` is reached from the descriptor of the locked directory on, through no link.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from eventstore.files.failures import limits_are_told, raise_if_limit
from eventstore.files.handles import OPEN_FLAGS, LocalFileLock
from eventstore.files.interface import GuardedPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE_MODE = 0o600
_FIRST_FREE_DESCRIPTOR = 3


@contextlib.contextmanager
def directory_of(path: str) -> Iterator[tuple[str, int | None]]:
    """Yield a name for what is at a path, and the descriptor of the directory that it is from."""
    if not isinstance(path, GuardedPath) or not isinstance(path.lock, LocalFileLock):
        yield path, None
        return
    above, name = os.path.split(path.inner)
    directory = None
    try:
        directory = path.lock.open_directory(above)
        yield name or ".", directory
    except OSError as error:
        # The system call knows a part of the path only.
        error.filename = str(path)
        raise_if_limit(error, path)
        raise
    finally:
        if directory is not None:
            os.close(directory)


def open_directory(path: str) -> int:
    """Return a descriptor of a directory."""
    # By its own ".": a path that is not held may well be a link, such as that above a store.
    return open_descriptor(
        path if isinstance(path, GuardedPath) else os.path.join(path, "."),
        os.O_RDONLY | os.O_DIRECTORY,
    )


def status(path: str) -> os.stat_result:
    """Return what stands at a path, a link as itself."""
    with directory_of(path) as (name, directory):
        return os.stat(name, dir_fd=directory, follow_symlinks=False)


def is_kind(path: str, is_of_kind: Callable[[int], bool]) -> bool:
    """Say whether something of a kind is at a path."""
    try:
        return is_of_kind(status(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def open_descriptor(path: str, flags: int) -> int:
    """Open what is at a path; never as one of the descriptors 0 to 2."""
    with limits_are_told(path), directory_of(path) as (name, directory):
        descriptor = os.open(name, flags | OPEN_FLAGS, FILE_MODE, dir_fd=directory)
    if descriptor >= _FIRST_FREE_DESCRIPTOR:
        return descriptor
    try:
        with limits_are_told(path):
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_DESCRIPTOR)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def low_descriptors_taken() -> Iterator[None]:
    """Keep the descriptors 0 to 2 taken, where they are free, by something harmless."""
    placeholders = []
    try:
        while True:
            placeholders.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            if placeholders[-1] >= _FIRST_FREE_DESCRIPTOR:
                break
        yield
    finally:
        for placeholder in placeholders:
            os.close(placeholder)


def flocked(path: str, flags: int) -> int | None:
    """Return a descriptor with an exclusive flock; None if another one holds it."""
    descriptor = open_descriptor(path, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def give_to_owner(path: str, descriptor: int) -> None:
    """Give what this process has just made in a locked directory to the directory's owner.

    Only root can, and only what it has made itself: what was there may be a link to a file of
    another user, put there by the owner.
    """
    if os.geteuid() != 0 or not isinstance(path, GuardedPath):
        return
    if isinstance(path.lock, LocalFileLock):
        owner = path.lock.directory_status()
        if owner.st_uid != 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
