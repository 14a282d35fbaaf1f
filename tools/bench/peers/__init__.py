"""The peers: one adapter a file, each used as its users would.

Each module has `open_peer(directory, settings)`, which makes the peer in a directory of its own.
Its import raises `MissingPeerError` where what it needs isn't installed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    Create = Callable[[int], None]
    """Does the transaction of the workload for one number; returns when it is durable."""


class MissingPeerError(Exception):
    """A peer can't take part; the text says what it lacks."""


class Peer(Protocol):
    """A store that takes part, opened and with the parent in it."""

    @property
    def versions(self) -> Mapping[str, str]:
        """What it is made of."""

    def worker(self) -> AbstractContextManager[Create]:
        """Return what one thread works with, such as a connection of its own."""

    def batch(self, first: int, count: int) -> None:
        """Create and commit `count` snapshots in one transaction; only some peers can."""

    def close(self) -> None:
        """Let go of it."""


def timed_creates(peer: Peer, first: int, threads: int, count: int) -> dict[str, Any]:
    """Create `count` snapshots by some threads at once; return nanoseconds: of each, of all."""
    found: list[list[int]] = [[] for _ in range(threads)]
    start = threading.Barrier(threads + 1)
    each = count // threads

    def work(thread: int) -> None:
        with peer.worker() as create:
            start.wait()
            numbers = range(first + thread * each, first + (thread + 1) * each)
            found[thread] = [_nanoseconds(create, number) for number in numbers]
            start.wait()  # what closing a connection costs is not measured

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    start.wait()
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    for worker in workers:
        worker.join()
    return {"ns": [one for part in found for one in part], "wall_ns": wall, "cpu_ns": cpu}


def timed_batch(peer: Peer, first: int, count: int) -> dict[str, Any]:
    """Create and commit `count` snapshots in one transaction; return the nanoseconds of all."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    peer.batch(first, count)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"wall_ns": wall, "cpu_ns": cpu}


def _nanoseconds(create: Create, number: int) -> int:
    start = time.perf_counter_ns()
    create(number)
    return time.perf_counter_ns() - start
