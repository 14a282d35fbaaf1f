"""Stops a function at a call of the operating system that changes what is on disk.

It takes the place of the functions of `os`, which the engine and the tools call alike. What a
buffered file writes is not counted, but the sync after it is.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHANGING = (
    *("chmod", "fchmod", "fdatasync", "fsync", "ftruncate", "link", "mkdir", "open", "pwrite"),
    *("remove", "rename", "replace", "rmdir", "unlink", "write"),
)


@contextlib.contextmanager
def watched(before: Callable[[int], object]) -> Iterator[None]:
    """Call a function before each call, with the number of that, from 1."""
    number = 0

    def hooked(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            nonlocal number
            if call is not os_open or arguments[1] & os.O_CREAT:
                number += 1
                before(number)
            return call(*arguments, **options)

        return made

    os_open = os.open
    with contextlib.ExitStack() as stack:
        for name in _CHANGING:
            stack.enter_context(mock.patch.object(os, name, hooked(getattr(os, name))))
        yield


class Raising:
    """Raises an error before a call of a number.

    Attributes:
        was_reached: whether there was such a call.
    """

    def __init__(self, error: BaseException, at: int) -> None:
        self._error = error
        self._at = at
        self.was_reached = False

    def __call__(self, number: int) -> None:
        if number == self._at:
            self.was_reached = True
            raise self._error


def copies_at_each_change(
    run: Callable[[], object], directory: Path, copies: Path
) -> Iterator[Path]:
    """Run a function, and yield what a kill would have left of a directory, at each change of it.

    Args:
        run: changes the directory.
        directory: to be copied; links within it are links in the copies too.
        copies: where the copies are made; each is gone once the next is asked for.
    """
    seen: list[object] = []
    made: list[Path] = []

    def before(number: int) -> None:
        now = _look_of(directory)
        if seen and seen[-1] == now:
            return
        seen.append(now)
        made.append(copies / str(number))
        subprocess.run(["cp", "-a", "--sparse=always", directory, made[-1]], check=True)

    with watched(before):
        run()
    for copy in made:
        yield copy
        subprocess.run(["rm", "-r", copy], check=True)


def _look_of(directory: Path) -> object:
    """Return something that is another after each change."""
    found = []
    for above, _, names in os.walk(directory):
        for path in (above, *(f"{above}/{name}" for name in names)):
            status = os.lstat(path)
            found.append((path, status.st_ino, status.st_mtime_ns, status.st_ctime_ns))
    return found
