"""Frames of HTTP/2 (RFC 9113): bytes to values, and back."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
"""The types of frames."""

END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20
"""The flags of frames."""

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM = range(5, 8)
COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 9, 11
"""The codes of errors."""

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 3, 4, 5, 6
"""The settings that matter here."""

FRAME_BYTES_MAX = 16_384
"""What a frame may hold unless more was agreed on, which we don't."""

WINDOW_BYTES = 65_535
"""What may be sent before the peer says more."""

WINDOW_BYTES_MAX = (1 << 31) - 1

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_GOAWAY = struct.Struct(">II")
_PRIORITY_BYTES = 5

HEAD_BYTES = _HEAD.size


class ConnectionBrokenError(Exception):
    """The peer did what ends a connection: the code of the error, and why."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Frame(NamedTuple):
    """One frame."""

    type: int
    flags: int
    stream: int
    payload: bytes


def frames_in(buffer: bytearray) -> Iterator[Frame]:
    """Yield the whole frames at the beginning of a buffer, and take them out at the end.

    Raises:
        ConnectionBrokenError: a frame is longer than allowed.
    """
    position, end = 0, len(buffer)
    try:
        while end - position >= HEAD_BYTES:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, position)
            length = high << 8 | low
            if length > FRAME_BYTES_MAX:
                raise ConnectionBrokenError(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + HEAD_BYTES
            if end - start < length:
                return
            position = start + length
            yield Frame(kind, flags, stream & 0x7FFFFFFF, bytes(buffer[start:position]))
    finally:
        del buffer[:position]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def content(each: Frame) -> bytes:
    """Return what a frame of data or headers holds, without padding and priority.

    Raises:
        ConnectionBrokenError: there is not room for these.
    """
    payload = each.payload
    start, end = 0, len(payload)
    if each.flags & PADDED:
        if not payload:
            raise ConnectionBrokenError(FRAME_SIZE_ERROR, "a padded frame without a length")
        start, end = 1, end - payload[0]
    if each.type == HEADERS and each.flags & PRIORITIZED:
        start += _PRIORITY_BYTES
    if start > end:
        raise ConnectionBrokenError(PROTOCOL_ERROR, "padding longer than its frame")
    return payload[start:end] if start or end < len(payload) else payload


def settings(values: dict[int, int]) -> bytes:
    """Return a frame of settings."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*each) for each in values.items()))


def settings_in(each: Frame) -> dict[int, int]:
    """Return the settings in a frame that is no acknowledgement.

    Raises:
        ConnectionBrokenError: the frame can't be.
    """
    if each.stream:
        raise ConnectionBrokenError(PROTOCOL_ERROR, "settings of a stream")
    if len(each.payload) % _SETTING.size:
        raise ConnectionBrokenError(FRAME_SIZE_ERROR, "settings of a strange length")
    return dict(_SETTING.iter_unpack(each.payload))


def number_in(each: Frame) -> int:
    """Return the number that a frame consists of: an increment of a window, a code.

    Raises:
        ConnectionBrokenError: it is no number.
    """
    if len(each.payload) != _NUMBER.size:
        raise ConnectionBrokenError(FRAME_SIZE_ERROR, "a number of a strange length")
    number: int = _NUMBER.unpack(each.payload)[0]
    return number


def window_update(stream: int, increment: int) -> bytes:
    """Return a frame that lets the peer send more."""
    return frame(WINDOW_UPDATE, 0, stream, _NUMBER.pack(increment))


def reset(stream: int, code: int) -> bytes:
    """Return a frame that ends a stream."""
    return frame(RST_STREAM, 0, stream, _NUMBER.pack(code))


def go_away(last_stream: int, code: int, why: str = "") -> bytes:
    """Return a frame that ends a connection, or announces that."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream, code) + why.encode())
