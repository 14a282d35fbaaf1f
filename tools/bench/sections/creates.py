"""Durable creates, beside the floor and every peer, with 1 and with 16 threads.

`1_thread_us` is the median of single creates; the means are wall time by creates, with all that
falls into it, such as a peer's own checkpoints.
"""

from __future__ import annotations

import contextlib
import statistics
from typing import TYPE_CHECKING

from tools.bench.children import ChildFailedError, Participant
from tools.bench.peers import MissingPeerError
from tools.bench.results import Section, percentile_99

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.bench.context import Bench
    from tools.bench.results import Figures

_THREADS = 16
_PEERS = {
    "floor": "floor",
    "sqlite": "sqlite",
    "sqlite-packed": "sqlite",
    "rocksdict": "rocksdict",
    "lmdb": "lmdb",
}
"""Who takes part besides, and the module that has it."""


def run(bench: Bench) -> Section:
    """Let all take turns."""
    section = Section()
    with contextlib.ExitStack() as open_peers:
        participants = _start(bench, section, open_peers)
        for peer in participants:
            _round(bench, peer)  # the first round warms up
        for turn in range(bench.sizes.rounds):
            first = turn % len(participants)
            for peer in participants[first:] + participants[:first]:
                section.add(peer.name, _round(bench, peer))
    ours = participants[0].name
    for peer in participants:
        section.compare((peer.name, "1_thread_mean_us"), (peer.name, "16_threads_mean_us"))
    for figure in ("1_thread_us", "1_thread_mean_us", "1_thread_cpu_us", "16_threads_mean_us"):
        for peer in participants[1:]:
            section.compare((ours, figure), (peer.name, figure))
    return section


def _start(bench: Bench, section: Section, open_peers: contextlib.ExitStack) -> list[Participant]:
    """Start all that can take part; note why others can't."""
    found = [open_peers.enter_context(bench.store(source)) for source in bench.sources]
    settings = {"record_bytes": found[0].hello["record_bytes"]}
    for name, module in _PEERS.items():
        with _noted(section, name):
            peer = bench.peer(name, module, **settings)
            section.versions |= peer.hello["versions"]
            found.append(open_peers.enter_context(peer))
    with _noted(section, "containerd"):
        peer, versions, _ = bench.containerd()
        section.versions |= versions
        found.append(open_peers.enter_context(peer))
    return found


@contextlib.contextmanager
def _noted(section: Section, name: str) -> Iterator[None]:
    try:
        yield
    except (MissingPeerError, ChildFailedError) as error:
        section.missing[name] = str(error)


def _round(bench: Bench, peer: Participant) -> Figures:
    one = peer.creates(1, bench.sizes.turn_s)
    many = peer.creates(_THREADS, bench.sizes.turn_s)
    return {
        "1_thread_us": statistics.median(one["ns"]) / 1e3,
        "1_thread_p99_us": percentile_99(one["ns"]) / 1e3,
        "1_thread_mean_us": one["wall_ns"] / len(one["ns"]) / 1e3,
        "1_thread_cpu_us": one["cpu_ns"] / len(one["ns"]) / 1e3,
        "16_threads_mean_us": many["wall_ns"] / len(many["ns"]) / 1e3,
        "16_threads_cpu_us": many["cpu_ns"] / len(many["ns"]) / 1e3,
    }
