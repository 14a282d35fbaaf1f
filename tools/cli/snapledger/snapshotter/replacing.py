"""Files in containerd's directories: made whole, and durable before they have their names.

What a kill leaves has a name that only this makes, next to the database that it is of, and goes
when the next command is at that database.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, Final

from snapledger.snapshotter.directories import sync

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW: Final = ".snapledger-new"
"""Ends the name of a file until it is whole."""
OLD: Final = ".snapledger-old"
"""Ends the second name of a database until it is certain that it may go."""


def clear_leftovers(database: str) -> None:
    """Remove what was cut short next to a database; the caller has it alone."""
    for ending in (NEW, OLD):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(database + ending)


def write_new(path: str, data: bytes, mode: int, database: str) -> None:
    """Make a file, durable before it has its name, next to a database that the caller has alone.

    Raises:
        FileExistsError: something is there.
        OSError: it can't be written; nothing was made.
    """
    clear_leftovers(database)
    try:
        os.link(written(data, mode, database), path)
    finally:
        clear_leftovers(database)
    sync(os.path.dirname(path))


def written(data: bytes, mode: int, database: str) -> str:
    """Write a file, durably, and return its name, which it has until it gets another."""
    path = database + NEW
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    return path


def kept_copy(path: str, data: bytes, mode: int, database: str) -> str:
    """Keep what a database holds under a name, or the next that is free, and return that.

    A copy that is there already is found again.
    """
    for candidate in _names(path):
        if not os.path.lexists(candidate):
            write_new(candidate, data, mode, database)
            return candidate
        if _holds(candidate, data):
            return candidate
    raise RuntimeError("there is no end of names")


def free(path: str) -> str:
    """Return the path, or the first of `PATH-2`, `PATH-3` and so on where nothing is."""
    return next(name for name in _names(path) if not os.path.lexists(name))


def _names(path: str) -> Iterator[str]:
    return itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))


def _holds(path: str, data: bytes) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read() == data
