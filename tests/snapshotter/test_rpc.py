"""The gRPC server against clients that do what grpcio and grpc-go never do."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest

from snapledger.snapshotter.rpc import connection, flow, frames
from snapledger.snapshotter.rpc.connection import Method
from snapledger.snapshotter.rpc.frames import Frame, frame
from snapledger.snapshotter.rpc.hpack import Decoder, encoded
from snapledger.snapshotter.rpc.server import RpcServer
from snapledger.snapshotter.rpc.status import Code, RefusedError, message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

END = frames.END_HEADERS
WHOLE = frames.END_STREAM
BLOCKS, BLOCK_BYTES = 40, 10_000


class Methods:
    """What the server of these tests answers."""

    def __init__(self) -> None:
        self.is_free = threading.Event()
        self.is_free.set()
        self.called = 0

    def echo(self, data: bytes) -> tuple[bytes]:
        self.called += 1
        self.is_free.wait(30)
        return (data,)

    def refuse(self, data: bytes) -> tuple[bytes]:
        raise RefusedError(Code.NOT_FOUND, f"no {data.decode()}: 100 % gone, für immer")

    def fail(self, data: bytes) -> tuple[bytes]:
        raise ZeroDivisionError(data)

    def blocks(self, data: bytes) -> Iterator[bytes]:
        for _ in range(BLOCKS):
            yield data * BLOCK_BYTES

    def table(self) -> dict[bytes, Method]:
        return {
            b"/t/Echo": Method(self.echo),
            b"/t/Quick": Method(lambda data: (data,), is_quick=True),
            b"/t/Refuse": Method(self.refuse),
            b"/t/RefuseQuickly": Method(self.refuse, is_quick=True),
            b"/t/Fail": Method(self.fail),
            b"/t/FailQuickly": Method(self.fail, is_quick=True),
            b"/t/Blocks": Method(self.blocks),
        }


class Serving(NamedTuple):
    """A server, and what it answers."""

    address: str
    server: RpcServer
    methods: Methods


@pytest.fixture
def serving(place: Path) -> Iterator[Serving]:
    address = str(place / "s")
    server, methods = RpcServer(address, 2), Methods()
    server.start(methods.table())
    yield Serving(address, server, methods)
    methods.is_free.set()
    server.stop(5.0)


class Raw:
    """A client of single frames."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._buffer = bytearray()
        self._waiting: list[Frame] = []
        self.decoder = Decoder()

    def send(self, *parts: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # the server may have ended it
            self._peer.sendall(b"".join(parts))

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_WR)

    def receive(self) -> Frame | None:
        """Return the next frame but the server's first two; None at the end."""
        while not self._waiting:
            try:
                data = self._peer.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._buffer += data
            self._waiting += frames.frames_in(self._buffer)
        return self._waiting.pop(0)

    def answer(self) -> tuple[dict[bytes, bytes], bytes]:
        """Return the headers, trailers among them, and the data of the next answer."""
        headers: dict[bytes, bytes] = {}
        data = b""
        while (each := self.receive()) is not None:
            if each.type == frames.HEADERS:
                headers |= self.decoder.decode(each.payload)
            elif each.type == frames.DATA:
                data += each.payload
            if each.flags & frames.END_STREAM and each.type in {frames.HEADERS, frames.DATA}:
                return headers, data
        raise AssertionError("the connection ended")

    def error(self) -> int:
        """Return the code with which the server ends the connection."""
        code = None
        while (each := self.receive()) is not None:
            if each.type == frames.GOAWAY:
                code = struct.unpack_from(">I", each.payload, 4)[0]
        assert code is not None
        return int(code)


@contextmanager
def connected(address: str, *, preface: bytes = frames.PREFACE) -> Iterator[Raw]:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(20)
        peer.connect(address)
        raw = Raw(peer)
        raw.send(preface, frames.settings({}) if preface == frames.PREFACE else b"")
        first = raw.receive()
        assert first is not None
        assert first.type == frames.SETTINGS
        yield raw


def asked(path: bytes, **others: bytes) -> bytes:
    """Return a block of headers."""
    headers = {b":method": b"POST", b":scheme": b"http", b":path": path}
    headers |= {b"content-type": b"application/grpc"}
    headers |= {name.replace("_", "-").encode(): value for name, value in others.items()}
    return encoded(*headers.items())


def request(stream: int, path: bytes, data: bytes = b"x") -> bytes:
    """Return the frames of a whole request."""
    head = frame(frames.HEADERS, END, stream, asked(path))
    return head + frame(frames.DATA, WHOLE, stream, message(data))


@pytest.mark.parametrize("path", [b"/t/Echo", b"/t/Quick"])
def test_a_request_in_single_bytes_with_padding_and_continuations_is_answered(
    serving: Serving, path: bytes
) -> None:
    block = asked(path)
    prioritized = b"\x03" + bytes(5) + block[:10] + bytes(3)
    flags = frames.PADDED | frames.PRIORITIZED
    body = message(b"hello")
    sent = (
        frame(frames.HEADERS, flags, 1, prioritized)
        + frame(frames.CONTINUATION, 0, 1, block[10:20])
        + frame(frames.CONTINUATION, END, 1, block[20:])
        + frame(frames.PRIORITY, 0, 1, bytes(5))
        + frame(frames.DATA, frames.PADDED, 1, b"\x02" + body[:3] + bytes(2))
        + frame(frames.DATA, 0, 1, body[3:])
        + frame(0xBB, 0, 0, b"unknown types are passed over")
        + frame(frames.HEADERS, END | WHOLE, 1, encoded((b"trailer", b"x")))
    )
    with connected(serving.address) as raw:
        for byte in sent:
            raw.send(bytes([byte]))
        headers, data = raw.answer()
    assert (headers[b"grpc-status"], data) == (b"0", message(b"hello"))


def test_many_requests_at_once_are_each_answered_once(serving: Serving) -> None:
    streams = range(1, 400, 2)
    with connected(serving.address) as raw:
        raw.send(*(request(stream, b"/t/Echo", b"%d" % stream) for stream in streams))
        answers: dict[int, bytes] = {}
        while len(answers) < len(streams):
            each = raw.receive()
            assert each is not None
            if each.type == frames.DATA:
                assert answers.setdefault(each.stream, each.payload) == each.payload
    assert answers == {stream: message(b"%d" % stream) for stream in streams}
    assert serving.methods.called == len(streams)


def test_what_a_call_raises_is_its_status(serving: Serving) -> None:
    expected = {
        b"/t/Refuse": (b"5", b"no x: 100 %25 gone, f%C3%BCr immer"),
        b"/t/RefuseQuickly": (b"5", b"no x: 100 %25 gone, f%C3%BCr immer"),
        b"/t/Fail": (b"2", b"ZeroDivisionError: b'x'"),
        b"/t/FailQuickly": (b"2", b"ZeroDivisionError: b'x'"),
        b"/t/None": (b"12", b"there is no method /t/None"),
    }
    with connected(serving.address) as raw:
        for number, (path, status) in enumerate(expected.items()):
            raw.send(request(2 * number + 1, path))
            headers, data = raw.answer()
            assert headers[b":status"] == b"200"
            assert (headers[b"grpc-status"], headers[b"grpc-message"]) == status
            assert data == b""


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (asked(b"/t/Echo", content_type=b"text/html"), {b":status": b"415"}),
        (asked(b"/t/Echo").replace(b"\x04POST", b"\x03GET"), {b":status": b"405"}),
    ],
    ids=["no gRPC", "no POST"],
)
def test_what_is_no_grpc_is_refused_and_the_connection_goes_on(
    serving: Serving, block: bytes, expected: dict[bytes, bytes]
) -> None:
    with connected(serving.address) as raw:
        raw.send(frame(frames.HEADERS, END, 1, block))
        assert raw.answer()[0] == expected
        raw.send(frame(frames.DATA, WHOLE, 1, b"late"), request(3, b"/t/Quick"))
        assert raw.answer()[0][b"grpc-status"] == b"0"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", Code.INTERNAL),
        (b"\0\0\0\0\5abc", Code.INTERNAL),
        (message(b"a") + message(b"b"), Code.INTERNAL),
        (b"\1\0\0\0\1a", Code.UNIMPLEMENTED),
        (b"\0\1\0\0\1a", Code.RESOURCE_EXHAUSTED),
    ],
    ids=["none", "short", "two", "compressed", "too long"],
)
@pytest.mark.parametrize("path", [b"/t/Echo", b"/t/Quick"])
def test_a_body_that_is_not_one_message_is_refused(
    serving: Serving, body: bytes, code: Code, path: bytes
) -> None:
    with connected(serving.address) as raw:
        raw.send(frame(frames.HEADERS, END, 1, asked(path)), frame(frames.DATA, WHOLE, 1, body))
        headers, _ = raw.answer()
        assert headers[b"grpc-status"] == b"%d" % code
        raw.send(request(3, path))
        assert raw.answer()[0][b"grpc-status"] == b"0"


def test_a_request_of_16_mib_is_taken_and_a_longer_one_refused(serving: Serving) -> None:
    limit = 16 << 20
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"unix:{serving.address}", options=options) as channel:
        echo: Any = channel.unary_unary("/t/Echo")
        assert len(echo(bytes(limit), timeout=60)) == limit
        with pytest.raises(grpc.RpcError) as caught:
            echo(bytes(limit + 1), timeout=60)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for _ in range(4):  # more than the window of the connection together
            assert len(echo(bytes(limit), timeout=60)) == limit


def test_answers_keep_to_the_windows_of_a_client_that_opens_them_slowly(
    serving: Serving,
) -> None:
    total = BLOCKS * (BLOCK_BYTES + 5)
    with connected(serving.address) as raw:
        raw.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 10}), request(1, b"/t/Blocks"))
        received, opened = 0, 10
        while received < total:
            each = raw.receive()
            assert each is not None
            if each.type == frames.DATA:
                received += len(each.payload)
                assert received <= opened
                if received == opened:
                    opened += 50_000
                    raw.send(frames.window_update(1, 50_000), frames.window_update(0, 50_000))
        assert raw.answer() == ({b"grpc-status": b"0"}, b"")


def test_a_client_that_takes_nothing_gives_its_thread_back(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow.Windows.take, "__kwdefaults__", {"seconds": 0.1})
    with connected(serving.address) as raw:
        raw.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
        raw.send(*(request(stream, b"/t/Blocks") for stream in (1, 3, 5)))
        ended: set[int] = set()
        while len(ended) < 3:
            each = raw.receive()
            assert each is not None
            if each.type == frames.RST_STREAM:
                ended.add(each.stream)
        raw.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 1000}), request(7, b"/t/Echo"))
        assert raw.answer()[1] == message(b"x")


def test_a_quick_answer_without_room_does_not_stop_the_reading(serving: Serving) -> None:
    with connected(serving.address) as raw:
        raw.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), request(1, b"/t/Quick"))
        raw.send(frame(frames.PING, 0, 0, b"12345678"))
        while (each := raw.receive()) is not None and each.type != frames.PING:
            assert each.type != frames.DATA
        assert each == Frame(frames.PING, frames.ACK, 0, b"12345678")
        raw.send(frames.window_update(1, 100))
        assert raw.answer()[1] == message(b"x")


def test_a_call_that_was_cancelled_is_not_answered(serving: Serving) -> None:
    serving.methods.is_free.clear()
    with connected(serving.address) as raw:
        raw.send(request(1, b"/t/Echo"))
        while serving.methods.called == 0:
            time.sleep(0.001)
        raw.send(frames.reset(1, 8), frame(frames.PING, 0, 0, bytes(8)))
        while (each := raw.receive()) is not None and each.type != frames.PING:
            pass
        serving.methods.is_free.set()
        raw.send(request(3, b"/t/Echo", b"y"))
        each = raw.receive()
        assert each is not None
        assert each.stream == 3


def test_stopping_answers_what_is_under_way_and_refuses_what_comes(serving: Serving) -> None:
    serving.methods.is_free.clear()
    with connected(serving.address) as raw:
        raw.send(request(1, b"/t/Echo"))
        while serving.methods.called == 0:
            time.sleep(0.001)
        stopping = threading.Thread(target=serving.server.stop, args=(20.0,))
        stopping.start()
        while (each := raw.receive()) is not None and each.type != frames.GOAWAY:
            pass
        assert each is not None
        assert struct.unpack(">II", each.payload) == (1, frames.NO_ERROR)
        raw.send(request(3, b"/t/Echo"))
        refused = raw.receive()
        assert refused == Frame(frames.RST_STREAM, 0, 3, struct.pack(">I", frames.REFUSED_STREAM))
        serving.methods.is_free.set()
        assert raw.answer()[1] == message(b"x")
        assert raw.receive() is None
        stopping.join()
    assert serving.methods.called == 1


def test_more_calls_than_allowed_are_refused_one_by_one(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STREAMS_MAX", 3)
    serving.methods.is_free.clear()
    with connected(serving.address) as raw:
        raw.send(*(request(stream, b"/t/Echo") for stream in (1, 3, 5, 7)))
        while (each := raw.receive()) is not None and each.type != frames.RST_STREAM:
            pass
        assert each == Frame(frames.RST_STREAM, 0, 7, struct.pack(">I", frames.REFUSED_STREAM))
        serving.methods.is_free.set()
        assert {raw.answer()[1] for _ in range(3)} == {message(b"x")}


PATH = asked(b"/t/Echo")
BROKEN = {
    "an even stream": (frame(frames.HEADERS, END, 2, PATH), frames.PROTOCOL_ERROR),
    "headers of stream 0": (frame(frames.HEADERS, END, 0, PATH), frames.PROTOCOL_ERROR),
    "data of no stream": (frame(frames.DATA, 0, 1, b"x"), frames.PROTOCOL_ERROR),
    "an end of no stream": (frames.reset(9, 8), frames.PROTOCOL_ERROR),
    "a frame between headers": (
        frame(frames.HEADERS, 0, 1, PATH[:9]) + frame(frames.PING, 0, 0, bytes(8)),
        frames.PROTOCOL_ERROR,
    ),
    "headers between headers": (
        frame(frames.HEADERS, 0, 1, PATH[:9]) + frame(frames.HEADERS, END, 1, PATH[9:]),
        frames.PROTOCOL_ERROR,
    ),
    "a continuation of nothing": (frame(frames.CONTINUATION, END, 1, b""), frames.PROTOCOL_ERROR),
    "headers that go on": (
        frame(frames.HEADERS, 0, 1, b"") + 5 * frame(frames.CONTINUATION, 0, 1, bytes(16_384)),
        frames.ENHANCE_YOUR_CALM,
    ),
    "headers that go on with nothing": (
        frame(frames.HEADERS, 0, 1, b"") + frame(frames.CONTINUATION, 0, 1, b""),
        frames.ENHANCE_YOUR_CALM,
    ),
    "no header block": (frame(frames.HEADERS, END, 1, b"\xbe"), frames.COMPRESSION_ERROR),
    "padding beyond the frame": (
        frame(frames.HEADERS, END | frames.PADDED, 1, b"\xffabc"),
        frames.PROTOCOL_ERROR,
    ),
    "a frame too long": (frame(frames.DATA, 0, 1, bytes(16_385)), frames.FRAME_SIZE_ERROR),
    "a short ping": (frame(frames.PING, 0, 0, b"x"), frames.FRAME_SIZE_ERROR),
    "settings of a stream": (frame(frames.SETTINGS, 0, 1), frames.PROTOCOL_ERROR),
    "half a setting": (frame(frames.SETTINGS, 0, 0, b"abc"), frames.FRAME_SIZE_ERROR),
    "a window of nothing": (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
    "a window too large": (frames.window_update(0, (1 << 31) - 1), frames.FLOW_CONTROL_ERROR),
    "a promise": (frame(frames.PUSH_PROMISE, END, 1, bytes(4)), frames.PROTOCOL_ERROR),
    "no HTTP/2": (b"", frames.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), BROKEN.values(), ids=BROKEN)
def test_a_client_that_breaks_the_protocol_is_told_and_the_others_go_on(
    serving: Serving, sent: bytes, code: int
) -> None:
    with connected(serving.address) as other:
        preface = frames.PREFACE if sent else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        with connected(serving.address, preface=preface) as raw:
            raw.send(sent)
            raw.end()
            assert raw.error() == code
        other.send(request(1, b"/t/Echo"))
        assert other.answer()[1] == message(b"x")


def test_whatever_a_client_sends_the_others_go_on(serving: Serving, deep: bool) -> None:
    chance = random.Random(9113)
    whole = request(1, b"/t/Quick") + request(3, b"/t/Echo") + frames.window_update(0, 5)
    with connected(serving.address) as other:
        for number in range(3000 if deep else 150):
            changed = bytearray(whole)
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(len(changed))] = chance.randrange(256)
            with connected(serving.address) as raw:
                raw.send(bytes(changed[: chance.randrange(len(changed) + 1)]))
            other.send(request(2 * number + 1, b"/t/Echo"))
            assert other.answer()[1] == message(b"x")
