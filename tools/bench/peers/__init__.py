"""The peers: one adapter a file, each used as its users would.

Each module has `open_peer(directory, settings)`, which makes the peer in a directory of its own.
Its import raises `MissingPeerError` where what it needs isn't installed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    Create = Callable[[int], None]
    """Does the transaction of the workload for one number; returns when it is durable."""


KEYS_A_THREAD = 100_000
"""More than a thread can use up in one turn."""


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


def timed_creates(peer: Peer, first: int, threads: int, seconds: float) -> dict[str, Any]:
    """Create by some threads at once for some seconds; return nanoseconds: of each, of all."""
    found: list[list[int]] = [[] for _ in range(threads)]
    errors: list[Exception] = []
    turn = threading.Barrier(threads + 1)

    def work(thread: int) -> None:
        try:
            with peer.worker() as create:
                turn.wait()
                _create_for(seconds, create, first + thread * KEYS_A_THREAD, found[thread])
                turn.wait()  # what closing a connection costs is not measured
        except Exception as error:  # the barrier is broken so that nobody waits for this thread
            errors.append(error)
            turn.abort()

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        turn.wait()
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        turn.wait()
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return {"ns": [one for part in found for one in part], "wall_ns": wall, "cpu_ns": cpu}


def timed_batch(peer: Peer, first: int, count: int) -> dict[str, Any]:
    """Create and commit `count` snapshots in one transaction; return the nanoseconds of all."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    peer.batch(first, count)
    wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
    return {"wall_ns": wall, "cpu_ns": cpu}


def _create_for(seconds: float, create: Create, number: int, found: list[int]) -> None:
    start = time.perf_counter_ns()
    end = start + int(seconds * 1e9)
    while start < end:
        create(number)
        number += 1
        done = time.perf_counter_ns()
        found.append(done - start)
        start = done
