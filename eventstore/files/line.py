"""The line of those who wait for a lock of another process, in the order in which they came.

A place in the line is a lock on one byte of the lock file, far behind its content, as far as the
machine's clock had come since it was started. That clock is the same for all processes, so whoever
has no locked byte before his own is first. The system lets go of a byte when its process dies, so
nobody waits for the dead, and nothing is written.

Linux only, by locks that belong to an open file (`F_OFD_SETLK`), so that two handles of one process
stand in line as well. Elsewhere there is no line, and who waits is let in by chance.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time

_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock` of a 64-bit Linux: type, whence, start, length, process."""
_FIRST_BYTE = 1 << 20
_TRIES = 64
_SET = getattr(fcntl, "F_OFD_SETLK", None)
_GET = getattr(fcntl, "F_OFD_GETLK", None)


class Place:
    """A place in the line, until `leave`."""

    def __init__(self, descriptor: int, byte: int) -> None:
        """Stand at a byte; the descriptor is the place's from now on."""
        self._descriptor = descriptor
        self._byte = byte

    def is_first(self) -> bool:
        """Say whether nobody came before."""
        if _GET is None:
            return True
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _FIRST_BYTE, self._byte - _FIRST_BYTE, 0)
        found = _FLOCK.unpack(fcntl.fcntl(self._descriptor, _GET, asked))
        return bool(found[0] == fcntl.F_UNLCK)

    def leave(self) -> None:
        """Let those behind move on."""
        os.close(self._descriptor)


def place_in_line(descriptor: int) -> Place | None:
    """Return the last place in the line at a file; None where the system keeps no line.

    The descriptor, which must be open for writing, is the place's if there is one.
    """
    if _SET is None:
        return None
    byte = _FIRST_BYTE + time.monotonic_ns()
    for _ in range(_TRIES):
        try:
            fcntl.fcntl(descriptor, _SET, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
        except BlockingIOError:
            byte += 1  # another one came in the same nanosecond
        except OSError:
            return None
        else:
            return Place(descriptor, byte)
    return None
