"""One connection: a thread that reads, and answers that any thread writes."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from typing import TYPE_CHECKING, NamedTuple

from snapledger.snapshotter.rpc import frames, status
from snapledger.snapshotter.rpc.flow import Windows
from snapledger.snapshotter.rpc.frames import END_HEADERS, END_STREAM, ConnectionBrokenError, Frame
from snapledger.snapshotter.rpc.hpack import LIST_BYTES_MAX
from snapledger.snapshotter.rpc.requests import Rejection, Request, Requests
from snapledger.snapshotter.rpc.status import Code, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STREAMS_MAX = 1000
"""So many calls of one connection at a time; a client keeps further ones waiting."""

_RECEIVED_BYTES = 1 << 16
_WINDOW_BYTES = status.MESSAGE_BYTES_MAX + status.PREFIX_BYTES
"""A whole request may be sent at once, so no stream's window has to grow."""

_CONNECTION_WINDOW_BYTES = 4 * _WINDOW_BYTES
_SENT_BYTES = 1 << 16
_SEND_SECONDS = 30
_CANCEL = 8

_log = logging.getLogger(__name__)


class Method(NamedTuple):
    """What answers the calls of one path.

    Attributes:
        call: from the bytes of the request to those of each message of the answer; raises
            `RefusedError` for another end.
        is_quick: it waits for nothing, so the thread that reads may call it.
    """

    call: Callable[[bytes], Iterator[bytes] | tuple[bytes]]
    is_quick: bool = False


class _GoneError(Exception):
    """Nobody waits for the answer any more."""


class Connection:
    """A client."""

    def __init__(
        self,
        peer: socket.socket,
        methods: Mapping[bytes, Method],
        submit: Callable[[Callable[[], None]], None],
    ) -> None:
        """Serve a connected socket.

        Args:
            peer: whom `serve` reads from, and closes.
            methods: by path.
            submit: has a function called in another thread.
        """
        self._socket = peer
        self._methods = methods
        self._submit = submit
        self._requests = Requests()
        self._windows = Windows()
        self._sending = threading.Lock()
        # Held while a request is let in, so that `drain` says truly which was the last.
        self._admitting = threading.Lock()
        self._is_draining = False
        self._received = 0
        timeout = struct.pack("ll", _SEND_SECONDS, 0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def serve(self) -> None:
        """Read until the client goes, or does what a client may not do."""
        try:
            self._send(
                frames.settings(
                    {
                        frames.MAX_CONCURRENT_STREAMS: STREAMS_MAX,
                        frames.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
                        frames.MAX_HEADER_LIST_SIZE: LIST_BYTES_MAX,
                    }
                )
                + frames.window_update(0, _CONNECTION_WINDOW_BYTES - frames.WINDOW_BYTES)
            )
            for each in self._frames():
                self._take(each)
        except ConnectionBrokenError as error:
            _log.warning("a connection was ended", extra={"why": str(error)})
            self._send(frames.go_away(self._requests.last, error.code, str(error)))
        except OSError as error:
            _log.info("a connection broke", extra={"error": str(error)})
        finally:
            self._windows.close_all()
            with self._sending:  # so that nobody sends to who gets this descriptor next
                self._socket.close()

    def drain(self) -> None:
        """Take no more requests; those under way are answered."""
        with self._admitting:
            self._is_draining = True
            last = self._requests.last
        self._send(frames.go_away(last, frames.NO_ERROR))

    def is_busy(self) -> bool:
        """Return whether there are requests without an answer."""
        return self._windows.count() > 0

    def end(self) -> None:
        """Have `serve` return."""
        self._windows.close_all()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has

    def _frames(self) -> Iterator[Frame]:
        buffer = bytearray()
        is_greeted = False
        while data := self._socket.recv(_RECEIVED_BYTES):
            buffer += data
            if not is_greeted:
                begin = bytes(buffer[: len(frames.PREFACE)])
                if begin != frames.PREFACE[: len(begin)]:
                    raise ConnectionBrokenError(frames.PROTOCOL_ERROR, "this is not HTTP/2")
                if len(begin) < len(frames.PREFACE):
                    continue
                del buffer[: len(begin)]
                is_greeted = True
            yield from frames.frames_in(buffer)

    def _take(self, each: Frame) -> None:
        if each.type == frames.HEADERS:
            with self._admitting:
                known = self._requests.last
                self._admit(known, self._requests.headers(each))
        elif each.type == frames.CONTINUATION:
            with self._admitting:
                known = self._requests.last
                self._admit(known, self._requests.continuation(each))
        else:
            self._requests.check_order(each)
            if each.type == frames.DATA:
                self._count_received(each)
                self._go_on(self._requests.data(each))
            else:
                self._control(each)

    def _admit(self, known: int, whole: Request | Rejection | None) -> None:
        """Let in a stream that the headers have opened, unless there are too many."""
        stream = self._requests.last
        if stream > known:
            if self._is_draining or self._windows.count() >= STREAMS_MAX:
                self._requests.give_up(stream)
                self._send(frames.reset(stream, frames.REFUSED_STREAM))
                return
            self._windows.open(stream)
        self._go_on(whole)

    def _count_received(self, each: Frame) -> None:
        """Let the client send as much again, now and then."""
        self._received += len(each.payload)
        if self._received >= _WINDOW_BYTES:
            self._send(frames.window_update(0, self._received))
            self._received = 0

    def _control(self, each: Frame) -> None:
        """Take a frame that is about the connection, or about windows."""
        if each.type == frames.WINDOW_UPDATE:
            self._windows.grow(each.stream, frames.number_in(each))
        elif each.type == frames.PING:
            if len(each.payload) != 8:
                raise ConnectionBrokenError(frames.FRAME_SIZE_ERROR, "a ping of a strange length")
            if not each.flags & frames.ACK:
                self._send(frames.frame(frames.PING, frames.ACK, 0, each.payload))
        elif each.type == frames.SETTINGS:
            if not each.flags & frames.ACK:
                wanted = frames.settings_in(each)
                if frames.INITIAL_WINDOW_SIZE in wanted:
                    self._windows.set_initial(wanted[frames.INITIAL_WINDOW_SIZE])
                self._send(frames.frame(frames.SETTINGS, frames.ACK, 0))
        elif each.type == frames.RST_STREAM:
            frames.number_in(each)
            if each.stream > self._requests.last:
                raise ConnectionBrokenError(frames.PROTOCOL_ERROR, "an end of what never began")
            self._requests.give_up(each.stream)
            self._windows.close(each.stream)
        elif each.type == frames.PUSH_PROMISE:
            raise ConnectionBrokenError(frames.PROTOCOL_ERROR, "a client promises nothing")

    def _go_on(self, whole: Request | Rejection | None) -> None:
        if isinstance(whole, Rejection):
            self._finish(whole.stream, b"", whole.headers)
            if not whole.is_whole:
                self._send(frames.reset(whole.stream, frames.NO_ERROR))
        elif whole is not None:
            method = self._methods.get(whole.path)
            if method is None:
                path = whole.path.decode("utf-8", "replace")
                error = RefusedError(Code.UNIMPLEMENTED, f"there is no method {path}")
                self._finish(whole.stream, b"", status.ANSWER + status.refusal(error))
            elif method.is_quick:
                self._answer_quickly(whole, method)
            else:
                self._submit(lambda: self._answer(whole, method))

    def _answer_quickly(self, request: Request, method: Method) -> None:
        """Answer in the thread that reads, unless the answer would have to wait for room."""
        try:
            (data,) = map(status.message, method.call(status.message_in(request.body)))
        except Exception as error:
            end = status.ANSWER + status.refusal(_refused(error))
            self._finish(request.stream, b"", end)
            return
        if len(data) <= frames.FRAME_BYTES_MAX and self._windows.take_all(
            request.stream, len(data)
        ):
            self._finish(request.stream, _head(request.stream) + _data(request.stream, data))
        else:
            self._submit(lambda: self._answer(request, method))

    def _answer(self, request: Request, method: Method) -> None:
        """Answer in a thread that may wait."""
        stream = request.stream
        head = pending = _head(stream)
        end = status.DONE
        try:
            for each in method.call(status.message_in(request.body)):
                pending = self._with_data(stream, pending, status.message(each))
        except _GoneError:
            if self._windows.close(stream):
                self._send(frames.reset(stream, _CANCEL))
            return
        except Exception as error:
            end = status.refusal(_refused(error))
            if pending is head:
                pending, end = b"", status.ANSWER + end
        self._finish(stream, pending, end)

    def _with_data(self, stream: int, pending: bytes, data: bytes) -> bytes:
        """Return what is to be sent with some data; send what can't wait for more.

        Nothing is kept back while this waits for room: the client makes some for what it has got.
        """
        position = 0
        while position < len(data):
            wanted = min(len(data) - position, frames.FRAME_BYTES_MAX)
            room = self._windows.take(stream, wanted, seconds=0)
            if room == 0:
                self._send(pending)
                pending = b""
                room = self._windows.take(stream, wanted)
                if room == 0:
                    raise _GoneError
            pending += _data(stream, data[position : position + room])
            position += room
            if len(pending) >= _SENT_BYTES:
                self._send(pending)
                pending = b""
        return pending

    def _finish(self, stream: int, pending: bytes, end: bytes = status.DONE) -> None:
        """Send the last of an answer, if the client still waits for it."""
        if self._windows.close(stream):
            last = frames.frame(frames.HEADERS, END_HEADERS | END_STREAM, stream, end)
            self._send(pending + last)

    def _send(self, data: bytes) -> None:
        """Send frames together; if that fails, the connection is over."""
        if not data:
            return
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            self.end()


def _refused(error: Exception) -> RefusedError:
    """Return what a call is answered with that raised this."""
    if isinstance(error, RefusedError):
        return error
    _log.error("a call was not answered by its method", exc_info=error)
    return RefusedError(Code.UNKNOWN, f"{type(error).__name__}: {error}")


def _head(stream: int) -> bytes:
    return frames.frame(frames.HEADERS, END_HEADERS, stream, status.ANSWER)


def _data(stream: int, data: bytes) -> bytes:
    return frames.frame(frames.DATA, 0, stream, data)
