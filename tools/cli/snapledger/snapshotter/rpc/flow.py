"""How much a peer takes: windows of a connection and of its streams (RFC 9113, 5.2)."""

from __future__ import annotations

import threading

from snapledger.snapshotter.rpc.frames import (
    FLOW_CONTROL_ERROR,
    PROTOCOL_ERROR,
    WINDOW_BYTES,
    WINDOW_BYTES_MAX,
    ConnectionBrokenError,
)

WAIT_SECONDS = 30.0
"""So long a sender waits for room; who takes nothing for so long has forgotten the answer."""


class Windows:
    """What may still be sent, to a connection and to each stream that is open."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._initial = WINDOW_BYTES
        self._connection = WINDOW_BYTES
        self._streams: dict[int, int] = {}
        self._is_over = False

    def open(self, stream: int) -> None:
        """Begin to count for a stream."""
        with self._changed:
            self._streams[stream] = self._initial

    def close(self, stream: int) -> bool:
        """Give up a stream; whoever waits for room gets none. Returns whether it was open."""
        with self._changed:
            was_open = self._streams.pop(stream, None) is not None
            self._changed.notify_all()
        return was_open

    def close_all(self) -> None:
        """Give up all streams, those to come too."""
        with self._changed:
            self._is_over = True
            self._streams.clear()
            self._changed.notify_all()

    def count(self) -> int:
        """Return how many streams are open."""
        return len(self._streams)

    def take_all(self, stream: int, wanted: int) -> bool:
        """Take room for all of the wanted bytes, or for none; don't wait."""
        with self._changed:
            left = self._streams.get(stream, 0)
            if wanted > min(left, self._connection):
                return False
            self._streams[stream] = left - wanted
            self._connection -= wanted
        return True

    def take(self, stream: int, wanted: int, *, seconds: float = WAIT_SECONDS) -> int:
        """Take room for some of the wanted bytes, all if there is; wait until there is any.

        Returns:
            0 if the stream is not open any more, or nothing became free in time.
        """
        with self._changed:
            while True:
                left = self._streams.get(stream)
                if left is None or self._is_over:
                    return 0
                room = min(wanted, left, self._connection)
                if room > 0:
                    self._streams[stream] = left - room
                    self._connection -= room
                    return room
                if not (seconds and self._changed.wait(seconds)):
                    return 0

    def grow(self, stream: int, increment: int) -> None:
        """Note that the peer takes more: on a stream, or with 0 on the connection.

        Raises:
            ConnectionBrokenError: nothing is added, or more than there can be.
        """
        increment &= WINDOW_BYTES_MAX
        if increment == 0:
            raise ConnectionBrokenError(PROTOCOL_ERROR, "a window grows by nothing")
        with self._changed:
            if stream == 0:
                self._connection = _checked(self._connection + increment)
            elif stream in self._streams:  # else it has ended meanwhile
                self._streams[stream] = _checked(self._streams[stream] + increment)
            self._changed.notify_all()

    def set_initial(self, size: int) -> None:
        """Give all streams another size to begin with, those that are open too.

        Raises:
            ConnectionBrokenError: it is more than there can be.
        """
        with self._changed:
            change = _checked(size) - self._initial
            self._initial = size
            for stream, left in self._streams.items():
                self._streams[stream] = _checked(left + change)
            self._changed.notify_all()


def _checked(size: int) -> int:
    if size > WINDOW_BYTES_MAX:
        raise ConnectionBrokenError(FLOW_CONTROL_ERROR, "a window larger than there can be")
    return size
