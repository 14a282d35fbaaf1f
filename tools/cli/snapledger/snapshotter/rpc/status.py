"""gRPC over HTTP/2: its codes, its headers, and what stands around a message."""

from __future__ import annotations

import enum
import struct

from snapledger.snapshotter.rpc.hpack import encoded

MESSAGE_BYTES_MAX = 16 << 20
"""What a request may take: containerd's own limit for what it sends."""

_PREFIX = struct.Struct(">BI")
PREFIX_BYTES = _PREFIX.size

_STATUS_OK = b"\x88"  # `:status: 200`, by its number in HPACK's static table
ANSWER = _STATUS_OK + encoded((b"content-type", b"application/grpc"))
"""The headers before the messages of an answer."""

DONE = encoded((b"grpc-status", b"0"))
"""The trailers after them."""

NOT_GRPC = encoded((b":status", b"415"))
NOT_POST = encoded((b":status", b"405"))
"""Whole answers to what is no gRPC."""

_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}
_DETAILS_BYTES_MAX = 4096


class Code(enum.IntEnum):
    """The codes of gRPC that are answered with."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class RefusedError(Exception):
    """A call is answered with a code and a text instead of messages."""

    def __init__(self, code: Code, details: str) -> None:
        super().__init__(details)
        self.code = code


def refusal(error: RefusedError) -> bytes:
    """Return trailers that say why there is no message, or no further one."""
    details = str(error).encode("utf-8", "replace")[:_DETAILS_BYTES_MAX]
    escaped = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in details)
    return encoded((b"grpc-status", b"%d" % error.code), (b"grpc-message", escaped.encode()))


def message(data: bytes) -> bytes:
    """Return a message as it is sent."""
    return _PREFIX.pack(0, len(data)) + data


def check_length(body: bytes | bytearray) -> None:
    """Refuse a request as soon as it says that it is too long.

    Raises:
        RefusedError: it does, or is longer than it says.
    """
    if len(body) < PREFIX_BYTES:
        return
    _, length = _PREFIX.unpack_from(body)
    if length > MESSAGE_BYTES_MAX:
        raise RefusedError(
            Code.RESOURCE_EXHAUSTED,
            f"a request of {length} bytes: at most {MESSAGE_BYTES_MAX} are taken",
        )
    if len(body) > PREFIX_BYTES + length:
        raise RefusedError(Code.INTERNAL, "the request is more than one message")


def message_in(body: bytes | bytearray) -> bytes:
    """Return the one message that a request consists of.

    Raises:
        RefusedError: it is compressed, or the request is not one message.
    """
    if len(body) < PREFIX_BYTES:
        raise RefusedError(Code.INTERNAL, "the request has no message")
    is_compressed, length = _PREFIX.unpack_from(body)
    if is_compressed:
        raise RefusedError(Code.UNIMPLEMENTED, "compressed messages are not taken")
    if length != len(body) - PREFIX_BYTES:
        raise RefusedError(Code.INTERNAL, "the request is not one whole message")
    return bytes(body[PREFIX_BYTES:])
