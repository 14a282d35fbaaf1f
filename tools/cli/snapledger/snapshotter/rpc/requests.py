"""Frames that come in, put together to whole requests."""

from __future__ import annotations

from typing import NamedTuple

from snapledger.snapshotter.rpc import status
from snapledger.snapshotter.rpc.frames import (
    COMPRESSION_ERROR,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    ConnectionBrokenError,
    Frame,
    content,
)
from snapledger.snapshotter.rpc.hpack import LIST_BYTES_MAX, Decoder, HeaderError
from snapledger.snapshotter.rpc.status import RefusedError


class Request(NamedTuple):
    """A whole request: the path of its method, and a body of one message."""

    stream: int
    path: bytes
    body: bytes


class Rejection(NamedTuple):
    """A request that is not taken: the headers that are all of its answer."""

    stream: int
    headers: bytes
    is_whole: bool


class _Partial(NamedTuple):
    """A request of which the body is still to come."""

    path: bytes
    body: bytearray


class Requests:
    """The requests of one connection.

    Attributes:
        last: the highest stream that a client has opened.
    """

    def __init__(self) -> None:
        self.last = 0
        self._decoder = Decoder()
        self._partial: dict[int, _Partial] = {}
        # The first frame of headers that go on in the next frame, and what there is of them.
        self._begun: tuple[Frame, bytearray] | None = None

    def headers(self, each: Frame) -> Request | Rejection | None:
        """Take a frame of headers; return what is whole with it.

        Raises:
            ConnectionBrokenError: it can't be one, or not here.
        """
        self.check_order(each)
        if each.stream % 2 == 0:
            raise ConnectionBrokenError(PROTOCOL_ERROR, f"stream {each.stream} is no client's")
        block = content(each)
        if not each.flags & END_HEADERS:
            self._begun = each, bytearray(block)
            return None
        return self._begin(each, block)

    def continuation(self, each: Frame) -> Request | Rejection | None:
        """Take a frame that goes on with headers; return what is whole with it.

        Raises:
            ConnectionBrokenError: there are none to go on with, or too many.
        """
        if self._begun is None or self._begun[0].stream != each.stream:
            raise ConnectionBrokenError(PROTOCOL_ERROR, "a continuation of nothing")
        first, block = self._begun
        block += each.payload
        if len(block) > LIST_BYTES_MAX:
            raise ConnectionBrokenError(ENHANCE_YOUR_CALM, "headers that go on and on")
        if not each.flags & END_HEADERS:
            if not each.payload:
                raise ConnectionBrokenError(ENHANCE_YOUR_CALM, "a continuation with nothing in it")
            return None
        self._begun = None
        return self._begin(first, bytes(block))

    def check_order(self, each: Frame) -> None:
        """Refuse a frame between headers and their continuation.

        Raises:
            ConnectionBrokenError: it is one.
        """
        if self._begun is not None:
            raise ConnectionBrokenError(
                PROTOCOL_ERROR, f"a frame of type {each.type} between headers"
            )

    def data(self, each: Frame) -> Request | Rejection | None:
        """Take a frame of data; return what is whole with it.

        Raises:
            ConnectionBrokenError: its stream was never opened, or the frame can't be.
        """
        if each.stream > self.last or each.stream % 2 == 0:
            raise ConnectionBrokenError(PROTOCOL_ERROR, f"data of stream {each.stream}")
        payload = content(each)
        partial = self._partial.get(each.stream)
        if partial is None:
            return None  # it was answered, or given up
        partial.body.extend(payload)
        try:
            status.check_length(partial.body)
        except RefusedError as error:
            return self._rejected(each, status.ANSWER + status.refusal(error))
        if not each.flags & END_STREAM:
            return None
        del self._partial[each.stream]
        return Request(each.stream, partial.path, bytes(partial.body))

    def give_up(self, stream: int) -> None:
        """Forget what there is of a request."""
        self._partial.pop(stream, None)

    def _begin(self, each: Frame, block: bytes) -> Request | Rejection | None:
        try:
            headers = dict(self._decoder.decode(block))
        except HeaderError as error:
            raise ConnectionBrokenError(COMPRESSION_ERROR, str(error)) from None
        if each.stream <= self.last:
            return self._trailers(each)
        self.last = each.stream
        if headers.get(b":method") != b"POST":
            return self._rejected(each, status.NOT_POST)
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            return self._rejected(each, status.NOT_GRPC)
        path = headers.get(b":path", b"")
        if each.flags & END_STREAM:
            return Request(each.stream, path, b"")
        self._partial[each.stream] = _Partial(path, bytearray())
        return None

    def _trailers(self, each: Frame) -> Request | None:
        """End a request by trailers, in which nothing matters."""
        partial = self._partial.pop(each.stream, None)
        if partial is None:
            return None
        if not each.flags & END_STREAM:
            raise ConnectionBrokenError(PROTOCOL_ERROR, "trailers that are not the end")
        return Request(each.stream, partial.path, bytes(partial.body))

    def _rejected(self, each: Frame, headers: bytes) -> Rejection:
        self.give_up(each.stream)
        return Rejection(each.stream, headers, is_whole=bool(each.flags & END_STREAM))
