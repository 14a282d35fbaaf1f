"""Files in containerd's directories: made whole, and durable before they have their names.

What a kill leaves has a name that only this makes; whoever comes next clears it away.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from snapledger.snapshotter.directories import sync

_NEW: Final = ".snapledger-new"


def clear_leftovers(path: str) -> None:
    """Remove what a writing of the file that was cut short has left; the caller has it alone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + _NEW)


def write_new(path: str, data: bytes, mode: int = 0o600) -> None:
    """Make a file, durable before it has its name.

    Raises:
        FileExistsError: something is there.
        OSError: it can't be written; nothing was made.
    """
    clear_leftovers(path)
    try:
        _write(path + _NEW, data, mode)
        os.link(path + _NEW, path)
    finally:
        clear_leftovers(path)
    sync(os.path.dirname(path))


def _write(path: str, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
        file.flush()
        os.fsync(descriptor)
