"""The socket, its connections, and the threads that answer."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from snapledger.snapshotter.rpc.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from snapledger.snapshotter.rpc.connection import Method

CONNECTIONS_MAX = 64
"""containerd has one. Each takes a thread."""

_BACKLOG = 64
_SECONDS_BETWEEN_LOOKS = 0.01
_log = logging.getLogger(__name__)


class RpcServer:
    """Answers gRPC calls on a Unix socket."""

    def __init__(self, address: str, threads: int) -> None:
        """Bind a socket where there is none; a client that connects waits for `start`.

        Args:
            address: path of the socket.
            threads: that answer calls which may wait.
        """
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(address)
        self._socket.listen(_BACKLOG)
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread_count = threads
        self._threads: list[threading.Thread] = []
        self._changing = threading.Lock()
        self._connections: dict[Connection, threading.Thread] = {}
        self._is_stopped = False

    def start(self, methods: Mapping[bytes, Method]) -> None:
        """Answer calls of these paths."""
        for number in range(self._thread_count):
            self._start(self._work, f"call-{number}")
        self._start(lambda: self._accept(methods), "accept")

    def stop(self, drain_seconds: float) -> None:
        """Take no more calls, wait for those under way, and let go of the socket; once."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._threads:
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._socket.close()
        os.unlink(self._address)
        with self._changing:
            connections = dict(self._connections)
        for each in connections:
            each.drain()
        until = time.monotonic() + drain_seconds
        while any(each.is_busy() for each in connections) and time.monotonic() < until:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        for each, reading in connections.items():
            each.end()
            reading.join()
        for _ in range(self._thread_count):
            self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _accept(self, methods: Mapping[bytes, Method]) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError as error:
                if self._is_stopped:
                    return
                _log.warning("a client can't be taken", extra={"error": str(error)})
                time.sleep(1.0)  # too many open files, perhaps
                continue
            self._take(peer, methods)

    def _take(self, peer: socket.socket, methods: Mapping[bytes, Method]) -> None:
        with self._changing:
            if self._is_stopped or len(self._connections) >= CONNECTIONS_MAX:
                peer.close()
                return
            connection = Connection(peer, methods, self._calls.put)
            reading = threading.Thread(target=self._serve, args=(connection,), name="connection")
            self._connections[connection] = reading
            reading.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            with self._changing:
                del self._connections[connection]
