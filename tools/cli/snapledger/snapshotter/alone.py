"""A database of containerd's that nobody else has open, and its removal or replacement.

bbolt opens its file first, and then asks for the lock until it has it. So who waits is not seen by
the lock, and goes on with the file that it has opened, whatever name that has by then. A lease
shows it (fcntl(2), `F_SETLEASE`): the system gives one on a file that nobody else has open, and
whoever opens it after that waits until the lease is given up, for as long as
/proc/sys/fs/lease-break-time says. So the file is moved first, and the lease is looked at then: as
long as it stands, nobody has got in, and nobody can by a name that is no longer there. Else the
file gets its name back, before whoever waits is let in.

**What is left**: an open(2) that has found the file before it was moved, but has not come to the
lease before it is given up, as where it is not run in between. And where the file system or the
owner of the file rules leases out, which is logged, whoever has opened the file without its lock.
What is kept of the file is therefore a copy, not the file itself.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from projections.snapshots import FailedPreconditionError
from snapledger.snapshotter.directories import sync
from snapledger.snapshotter.replacing import OLD, clear_leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

_log = logging.getLogger(__name__)


class Alone:
    """A file that is held: see `alone`."""

    def __init__(self, file: BinaryIO, path: str, *, is_leased: bool) -> None:
        self.file = file
        self._path = path
        self._is_leased = is_leased

    def require(self) -> None:
        """Check that nobody has begun to open the file.

        Raises:
            FailedPreconditionError: somebody has.
        """
        if self._is_leased and fcntl.fcntl(self.file, fcntl.F_GETLEASE) != fcntl.F_WRLCK:
            raise FailedPreconditionError(
                f"{self._path}: containerd, or another program, has begun to open it meanwhile; it "
                "is as it was: stop containerd first, and do it again"
            )

    def remove(self) -> None:
        """Remove the file; durable on return.

        Raises:
            FailedPreconditionError: somebody has begun to open it; it is there.
        """
        self._change(lambda: os.unlink(self._path))

    def replace_by(self, path: str) -> None:
        """Give its name to another file; durable on return.

        Raises:
            FailedPreconditionError: somebody has begun to open it; it has its name.
        """
        self._change(lambda: os.replace(path, self._path))

    def _change(self, change: Callable[[], object]) -> None:
        self.require()
        os.link(self._path, self._path + OLD)
        try:
            change()
            self.require()
        except BaseException:
            os.replace(self._path + OLD, self._path)
            clear_leftovers(self._path)
            raise
        clear_leftovers(self._path)
        sync(os.path.dirname(self._path))


@contextmanager
def alone(path: str) -> Iterator[Alone]:
    """Hold a database until the end of the block: containerd can't open it meanwhile.

    Raises:
        FailedPreconditionError: somebody has it open.
        FileNotFoundError: there is none.
        OSError: it can't be opened.
    """
    try:
        file = open(path, "rb", opener=_opened_at_once)  # noqa: SIM115 - closed below
    except BlockingIOError:
        raise _is_open(path) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_leased = _leased(file, path)
        except BlockingIOError:
            raise _is_open(path) from None
        clear_leftovers(path)
        yield Alone(file, path, is_leased=is_leased)


def _opened_at_once(path: str, flags: int) -> int:
    """Open a file without waiting for a lease on it, or for who writes into a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _leased(file: BinaryIO, path: str) -> bool:
    """Take a lease on a file, and return whether there is one.

    Raises:
        BlockingIOError: somebody else has the file open.
    """
    try:
        # Who has a lease is told by a signal that somebody waits: one that does nothing.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        raise
    except OSError as error:
        _log.warning(
            "whether containerd waits for the file can't be told here: be sure that it is stopped",
            extra={"path": path, "why": error.strerror},
        )
        return False
    return True


def _is_open(path: str) -> FailedPreconditionError:
    return FailedPreconditionError(
        f"{path}: containerd has it open, or another program: stop containerd first"
    )
