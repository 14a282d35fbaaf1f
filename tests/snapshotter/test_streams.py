"""Clients that pause amid a List hold up nobody else, and not for ever."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from snapshotter.client import Client

from snapledger.snapshotter import service
from snapledger.snapshotter.metadata import Options
from snapledger.snapshotter.serving import bound, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from snapledger.snapshotter.metadata import Snapshotter

THREADS = 2
LABELS = {f"label-{number}": "x" * 4_000 for number in range(250)}


@pytest.fixture
def driver(place: Path) -> Iterator[Snapshotter]:
    """A driver whose List takes more messages than a connection holds."""
    with (
        bound(str(place / "s"), threads=THREADS) as server,
        opened(str(place / "root"), "overlay", Options()) as (snapshotter, _),
        server.serving(snapshotter),
        Client(place / "s") as client,
    ):
        for number in range(8):
            client.prepare(f"k/{number}", "", LABELS)
        yield snapshotter


def paused(place: Path, stack: ExitStack) -> Any:
    """Begin a List on a connection of its own; return it after its first message."""
    # Else the connection comes to hold as much as it carries: many messages.
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))
    client = stack.enter_context(Client(place / "s", *options))
    stream = client.listing()
    assert len(next(stream).info) == 1
    return stream


def wait_until_no_list_is_watched() -> None:
    """Return once each List that was begun has ended, or has been let go."""
    deadline = time.monotonic() + 10
    while any(each.name == "idle-list" for each in threading.enumerate()):
        assert time.monotonic() < deadline, "what watched it is still there"
        time.sleep(0.02)


@pytest.mark.usefixtures("driver")
def test_readers_that_pause_hold_up_no_other_call(place: Path) -> None:
    with ExitStack() as stack:
        streams = [paused(place, stack) for _ in range(THREADS)]
        client = stack.enter_context(Client(place / "s"))
        client.prepare("meanwhile", timeout=10)
        client.cleanup()
        assert client.stat("meanwhile").name == "meanwhile"
        for stream in streams:  # all goes on where they do, as of the moment when they began
            assert sum(len(message.info) for message in stream) == 7


@pytest.mark.usefixtures("driver")
def test_a_reader_that_pauses_for_too_long_is_let_go(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LIST_IDLE_SECONDS", 0.5)
    with ExitStack() as stack:
        streams = [paused(place, stack) for _ in range(THREADS)]
        client = stack.enter_context(Client(place / "s"))
        assert [len(block) for block in client.list()] == [1] * 8
        wait_until_no_list_is_watched()
        for stream in streams:
            with pytest.raises(grpc.RpcError) as caught:
                list(stream)
            answer: Any = caught.value
            assert answer.code() is grpc.StatusCode.CANCELLED


@pytest.mark.usefixtures("driver")
def test_a_reader_that_is_slow_gets_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A client tells of what it has read some messages late, in all of a megabyte each.
    monkeypatch.setattr(service, "LIST_IDLE_SECONDS", 2.5)
    with ExitStack() as stack:
        client = stack.enter_context(Client(place / "s"))
        for number in range(16):
            client.prepare(f"more/{number}", "", LABELS)
        stream = paused(place, stack)
        names, start = [], time.monotonic()
        for message in stream:
            names += [info.name for info in message.info]
            time.sleep(0.15)
        assert len(names) == 23
        assert time.monotonic() - start > 2.5
    wait_until_no_list_is_watched()
