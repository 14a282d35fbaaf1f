"""Many snapshots at once: created and committed in one transaction, and imported.

containerd's own package does the first too; its database is then what `import_containerd` is given.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from projections.snapshots import MetaStore
from projections.snapshots.importer import import_containerd
from tools.bench.children import ChildFailedError, measured
from tools.bench.peers import MissingPeerError
from tools.bench.results import Section
from tools.bench.workload import fill

if TYPE_CHECKING:
    from pathlib import Path

    from tools.bench.context import Bench
    from tools.bench.results import Figures


def run(bench: Bench) -> Section:
    """Let all take turns."""
    section = Section()
    database = _batches(bench, section)
    ours = bench.sources[0].name
    section.compare(
        (ours, "create_and_commit_us_each"), ("containerd", "create_and_commit_us_each")
    )
    for _ in range(bench.sizes.rounds):
        for source in bench.sources:
            path = str(bench.path("import"))
            count = bench.sizes.imported
            section.add(source.name, measured(source, emitted, path=path, count=count))
            if database is not None:
                paths = {"database": str(database), "path": str(bench.path("import"))}
                section.add(source.name, measured(source, imported, **paths))
    bench.compare_sources(section)
    return section


def _batches(bench: Bench, section: Section) -> Path | None:
    """Measure transactions of many; return containerd's database if it took part."""
    with contextlib.ExitStack() as open_peers:
        peers = [open_peers.enter_context(bench.store(source)) for source in bench.sources]
        database = None
        try:
            peer, section.versions, database = bench.containerd()
            peers.append(open_peers.enter_context(peer))
        except (MissingPeerError, ChildFailedError) as error:
            section.missing["containerd"] = str(error)
        count = bench.sizes.batch
        for turn in range(bench.sizes.rounds):
            first = turn % len(peers)
            for peer in peers[first:] + peers[:first]:
                took = peer.batch(count)
                figures = {
                    "create_and_commit_us_each": took["wall_ns"] / count / 1e3,
                    "create_and_commit_cpu_us_each": took["cpu_ns"] / count / 1e3,
                }
                section.add(peer.name, figures)
    return database


def emitted(path: str, count: int) -> Figures:
    """Import snapshots as a program does that emits their events."""
    with MetaStore.open(path) as store:
        wall, cpu = time.perf_counter(), time.process_time()
        fill(store, count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"emitted_us_each": wall / count * 1e6, "emitted_cpu_us_each": cpu / count * 1e6}


def imported(database: str, path: str) -> Figures:
    """Import a database of containerd."""
    wall, cpu = time.perf_counter(), time.process_time()
    count = import_containerd(database, path).snapshot_count
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "import_containerd_us_each": wall / count * 1e6,
        "import_containerd_cpu_us_each": cpu / count * 1e6,
    }
