"""Faults: which call of a simulated file system fails, and how.

A fault hook sees every call before it has any effect, and may answer with a `Failure`. Closing a
file and reading mapped memory can't fail, and are not shown.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class Call(NamedTuple):
    """A call of a file system, or of a file that it has opened.

    Attributes:
        number: 1, 2, 3 … in the life of the file system.
        name: of the method, such as "write" or "sync_directory".
        path: that it is about.
    """

    number: int
    name: str
    path: str


class Failure(NamedTuple):
    """How a call fails.

    Attributes:
        error_number: such as `errno.EIO`.
        written_fraction: how much of its bytes a failing write has taken nevertheless.
    """

    error_number: int
    written_fraction: float = 0.0


FaultHook = Callable[[Call], Failure | None]
"""Says whether, and how, a call fails."""


class PowerCutError(OSError):
    """The power is gone: this call, and every later one, changes nothing.

    An `OSError`, so that the store's threads end as they do when a device disappears. Nothing
    they do on the way can reach the medium.
    """

    def __init__(self, path: str) -> None:
        super().__init__(errno.ENODEV, "the power was cut", path)


@dataclass(frozen=True, slots=True)
class FailCall:
    """Fail one call, by its number, and perhaps later ones.

    Attributes:
        number: of the call.
        failure: how it fails.
        later: names of the calls that fail from then on; None for all calls, as on a dead disk.
    """

    number: int
    failure: Failure
    later: frozenset[str] | None = frozenset()

    def __call__(self, call: Call) -> Failure | None:
        """Say how a call fails."""
        is_later = call.number > self.number and (self.later is None or call.name in self.later)
        return self.failure if call.number == self.number or is_later else None
