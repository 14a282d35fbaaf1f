"""The driver put together: a root that is held and settled, and a server on a socket."""

from __future__ import annotations

import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc

from projections.snapshots import MetaStore
from snapledger.snapshotter.directories import Directories
from snapledger.snapshotter.metadata import Options, Snapshotter
from snapledger.snapshotter.place import LOCK, checked_root, checked_socket, clear_socket, held
from snapledger.snapshotter.recorded import check_strategy
from snapledger.snapshotter.service import SERVICE, Service
from snapledger.snapshotter.settling import Settled, settle
from snapledger.snapshotter.strategy import STRATEGIES
from snapledger.snapshotter.takeover import METADATA, SNAPSHOTS, refuse_foreign
from snapledger.snapshotter.telling import Counts

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 16
"""More clients than that wait for one another; each costs hand-overs of the interpreter lock."""

_REQUEST_BYTES_MAX = 16 * 1024 * 1024
"""As much as containerd sends (its `defaults.DefaultMaxSendMsgSize`); gRPC's own is 4 MiB."""
_SOCKET_UMASK = 0o177
_DRAIN_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Opened(NamedTuple):
    """A root that is held: what serves it, and what the start has found."""

    snapshotter: Snapshotter
    settled: Settled


@contextmanager
def opened(path: str, strategy: str, options: Options) -> Iterator[Opened]:
    """Hold a root, open its store and settle what is on disk; close all at the end.

    Raises:
        PlaceError: the root can't be used, another driver has it, or containerd's own snapshotter,
            or it is kept with another strategy.
        EventStoreError: the store can't be opened.
        OSError: a directory can't be made or listed.
    """
    root = checked_root(path)
    with held(f"{root}/{LOCK}", root):
        refuse_foreign(root)
        with MetaStore.open(f"{root}/{METADATA}") as store:
            directories = Directories(f"{root}/{SNAPSHOTS}")
            check_strategy(root, strategy, store, directories.path)
            chosen = STRATEGIES[strategy](directories.path)
            settled = settle(store, directories, chosen)
            yield Opened(Snapshotter(store, directories, chosen, options), settled)


class Server:
    """A gRPC server on a Unix socket."""

    def __init__(self, address: str, threads: int) -> None:
        """Bind a socket that `clear_socket` has seen to; nobody but the owner may connect.

        The umask belongs to the process, so this comes before there are threads that make files,
        such as a store's: a client that connects meanwhile waits for `serving`.
        """
        self.address = address
        self.counts = Counts()
        self.failed = threading.Event()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._lists = ThreadPoolExecutor(threads, thread_name_prefix="list")
        limits = [("grpc.max_receive_message_length", _REQUEST_BYTES_MAX)]
        self._server = grpc.server(self._executor, options=limits)
        umask = os.umask(_SOCKET_UMASK)
        try:
            self._server.add_insecure_port(f"unix:{address}")
        finally:
            os.umask(umask)
        self._bound = _identity(address)

    def is_reachable(self) -> bool:
        """Return whether the socket is there still: else nobody new finds the driver."""
        return self._bound is not None and _identity(self.address) == self._bound

    @contextmanager
    def serving(self, snapshotter: Snapshotter) -> Iterator[None]:
        """Answer calls; at the end take no more, and wait for those that are under way."""
        service = Service(snapshotter, self.counts, self.failed.set, self._lists)
        # By method, so that gRPC's own code finds the handler: 7 to 12 % more cycles than by a
        # generic one, which Python is asked for each call.
        self._server.add_registered_method_handlers(SERVICE, service.handlers())
        self._server.start()
        try:
            yield
        finally:
            self.stop()

    def stop(self) -> None:
        """Let go of the socket; does nothing the second time."""
        self._server.stop(_DRAIN_SECONDS).wait()
        self._executor.shutdown()
        self._lists.shutdown()
        if self.is_reachable():  # gRPC leaves the socket of a server that has not started
            os.unlink(self.address)


def _identity(path: str) -> tuple[int, int, int] | None:
    """Return what tells a file from a later one of its name; None if there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns  # an inode's number may come again


@contextmanager
def bound(path: str, *, threads: int = THREADS) -> Iterator[Server]:
    """Bind a socket, and let go of it at the end.

    Raises:
        PlaceError: the socket can't be used, or somebody listens there.
    """
    address = checked_socket(path)
    with held(f"{address}.lock", address):
        clear_socket(address)
        server = Server(address, threads)
        try:
            yield server
        finally:
            server.stop()
