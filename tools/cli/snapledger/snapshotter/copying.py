"""A copy of a tree, made by `cp`: with owners, modes, times, links, devices, attributes, reflinks.

**It ends with the driver.** The kernel kills it when the thread that has begun it ends, which waits
for it, so when the driver is killed. Else it would go on filling a directory that the next start
takes for a leftover. `setpriv` of util-linux asks the kernel for that, between fork and exec, where
Python code can't run safely beside threads; where there is none that can, the copy lives on for its
while, and the directory is removed by a later Cleanup or start.
"""

from __future__ import annotations

import errno
import os
import subprocess
from functools import cache

_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHOWN_CHARACTERS = 500


def copy_tree(source: str, target: str) -> None:
    """Copy all that is in a directory into another one.

    Raises:
        OSError: it can't be done; of the system's number where the disk or a quota is full.
    """
    copying = ["cp", "-a", "--reflink=auto", "--", f"{source}/.", target]
    done = subprocess.run(
        [*_prefix(), *copying],
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C"},  # messages as `os.strerror` gives them
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        raise _error(f"copying {source} failed: {done.stderr.strip()}", done.stderr)


@cache
def _prefix() -> tuple[str, ...]:
    try:
        tried = subprocess.run([*_ENDS_WITH_US, "true"], check=False, capture_output=True)
    except (FileNotFoundError, PermissionError):
        return ()
    return _ENDS_WITH_US if tried.returncode == 0 else ()


def _error(text: str, said: str) -> OSError:
    """Return the error that `cp` had: it ends each line with what the system told."""
    shown = text[:_SHOWN_CHARACTERS]
    for line in said.splitlines():
        for number in _FULL:
            if line.endswith(f": {os.strerror(number)}"):
                return OSError(number, shown)
    return OSError(shown)
