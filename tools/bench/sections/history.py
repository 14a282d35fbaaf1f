"""The history: what is asked of one store of many batches, and a tenth as many snapshots.

Each snapshot is created, committed, and relabelled; of each twentieth somebody takes a look, which
is removed. The store is made once, by 16 threads, under the default policy.
"""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from eventstore import verify_store
from eventstore.checkpoints.chains import must_keep
from eventstore.checkpoints.loader import list_checkpoints
from eventstore.files.local import local_file_system
from projections.snapshots import Kind, MetaStore, SnapshotsProjection
from tools.bench.children import measured
from tools.bench.results import Section
from tools.bench.sections import verbs
from tools.bench.workload import (
    GROUP_LABEL,
    PARENT,
    REF_LABEL,
    USAGE,
    fill,
    labels_of,
    layer_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.bench.context import Bench
    from tools.bench.results import Figures

BATCHES_EACH = 10
_LOOK_EACH = 20
_THREADS = 16
_ACTORS = ("puller", "runtime", "gc")
_PROOFS = 200
_BACKED_UP = 1000


def run(bench: Bench) -> Section:
    """Measure this source alone: an older one may not know what is asked."""
    section = Section()
    ours = bench.sources[0]
    path = str(bench.path("history"))
    count = max(bench.sizes.snapshots // BATCHES_EACH, _LOOK_EACH)
    section.add(ours.name, measured(ours, written, path=path, count=count))
    for turn in range(bench.sizes.large_rounds * bench.sizes.asked):
        number = turn * 7919 % count // _LOOK_EACH * _LOOK_EACH  # of one that somebody looked at
        section.add(ours.name, measured(ours, asked, path=path, number=number))
    commits = bench.sizes.commits
    for turn in range(bench.sizes.large_rounds):
        section.add(ours.name, measured(ours, proved, path=path))
        section.add(ours.name, measured(ours, checked, path=path))
        section.add(ours.name, verbs.timed(ours, path, count))
        section.add(ours.name, measured(ours, beside_a_reader, path=path, commits=commits))
        section.add(ours.name, _watched(bench, path, turn))
        target = str(bench.path("backup"))
        section.add(ours.name, measured(ours, backed_up, path=path, target=target))
    return section


def written(path: str, count: int) -> Figures:
    """Make the store; say what lies on the disk for its past, by what archive and log take."""
    with MetaStore.open(path) as store:
        fill(store, 0)
        with ThreadPoolExecutor(_THREADS) as threads:
            parts = [range(part, count, _THREADS) for part in range(_THREADS)]
            list(threads.map(_lives, [store] * _THREADS, parts))  # raises what a thread raised
        store.checkpoint()
        store.compact()  # as maintenance would next: what is superseded goes to archive and ladder
        batch_count = store.stats()["revision"]
    checkpoints = list_checkpoints(local_file_system(), path)
    superseded = set(checkpoints) - must_keep(checkpoints).files
    sizes = {
        "log": sum(len(file.read_bytes().rstrip(b"\0")) for file in Path(path).glob("wal/*.log")),
        "archive": _size_bytes(Path(path).glob("archive/*")),
        "index": _size_bytes(Path(path).glob("index/*")),
        "tree": _size_bytes(Path(path).glob("tree/*")),
        "ladder": _size_bytes(
            [*Path(path).glob("ladder/*"), *(Path(file.path) for file in superseded)]
        ),
    }
    past = sizes["index"] + sizes["tree"] + sizes["ladder"]
    return {
        "batch_count": batch_count,
        **{f"{name}_mib": size / 2**20 for name, size in sizes.items()},
        "disk_of_the_past_share": past / (sizes["archive"] + sizes["log"]),
    }


def _lives(store: MetaStore, numbers: range) -> None:
    """Write the histories of some snapshots."""
    parent = PARENT
    for place, number in enumerate(numbers):
        actor = _ACTORS[number % len(_ACTORS)]
        labels = labels_of(number)
        with store.transaction(writable=True, actor=actor, reason="unpack") as transaction:
            transaction.create_snapshot(Kind.ACTIVE, f"work-{number}", parent, labels)
        name = layer_name(number)
        with store.transaction(writable=True, actor=actor, reason="unpack") as transaction:
            transaction.commit_active(f"work-{number}", name, USAGE, labels)
        relabelled = BATCHES_EACH - 2
        if number % _LOOK_EACH == 0:
            relabelled -= 2
            with store.transaction(writable=True, actor=actor, reason="look") as transaction:
                transaction.create_snapshot(Kind.VIEW, look_name(number), name)
            with store.transaction(writable=True, actor="gc", reason="unused") as transaction:
                transaction.remove(look_name(number))
        for turn in range(relabelled):
            changed = numbers[number * 7919 * (turn + 1) % (place + 1)]
            group = {GROUP_LABEL: f"group-{turn}", REF_LABEL: f"{number}"}
            with store.transaction(writable=True, actor=actor, reason="gc") as transaction:
                transaction.update_info(layer_name(changed), group)
        parent = name if place % 8 else PARENT


def look_name(number: int) -> str:
    """Return the name of the view that somebody took of a snapshot."""
    return f"look-{number}"


def asked(path: str, number: int) -> Figures:
    """Ask in a new process for what was never asked before: a history, and who removed a view."""
    with MetaStore.open(path, read_only=True) as store:
        start = time.perf_counter()
        entries = list(store.history(layer_name(number), reverse=True))
        told = time.perf_counter()
        removal = store.who_removed(look_name(number))
        removal_s = time.perf_counter() - told
    if removal is None or removal.metadata.actor != "gc":
        raise ValueError(f"{look_name(number)} was removed by {removal}")
    return {
        "history_entries_count": len(entries),
        "history_first_ms": (told - start) * 1e3,
        "who_removed_ms": removal_s * 1e3,
    }


def proved(path: str) -> Figures:
    """Prove batches all over the store, and check each proof."""
    with MetaStore.open(path, read_only=True) as opened:
        store = opened.event_store
        newest = store.stats()["durable_revision"]
        seconds, hashes = [], 0
        for turn in range(_PROOFS):
            start = time.perf_counter()
            proof = store.inclusion_proof(1 + turn * 7919 % newest)
            seconds.append(time.perf_counter() - start)
            proof.check()
            hashes = max(hashes, len(proof.path))
    return {
        "proof_ms": statistics.median(seconds) * 1e3,
        "proof_longest_ms": max(seconds) * 1e3,
        "proof_hashes_count": hashes,
    }


def checked(path: str) -> Figures:
    """Verify the store, in full and quickly."""
    seconds = []
    for quick in (False, True):
        start = time.perf_counter()
        report = verify_store(path, [SnapshotsProjection()], quick=quick, processes=2)
        seconds.append(time.perf_counter() - start)
        if not report.is_sound:
            raise ValueError(f"{path}: {report.problems}")
    newest = max(report.revision, 1)
    return {"check_us_a_batch": seconds[0] / newest * 1e6, "check_quick_s": seconds[1]}


def beside_a_reader(path: str, commits: int) -> Figures:
    """Commit alone, and beside a thread that asks for one history after the other."""
    with MetaStore.open(path) as store:
        alone = _commit_seconds(store, commits)
        done = threading.Event()
        reader = threading.Thread(target=_read_on, args=(store, done))
        reader.start()
        try:
            beside = _commit_seconds(store, commits)
        finally:
            done.set()
            reader.join()
    return {
        "commit_p50_us": statistics.median(alone) * 1e6,
        "commit_p50_beside_history_us": statistics.median(beside) * 1e6,
        "commit_p50_beside_history_ratio": statistics.median(beside) / statistics.median(alone),
    }


def _commit_seconds(store: MetaStore, commits: int) -> list[float]:
    seconds = []
    for turn in range(commits):
        start = time.perf_counter()
        _relabel(store, turn)
        seconds.append(time.perf_counter() - start)
    return seconds


def _relabel(store: MetaStore, turn: int) -> None:
    with store.transaction(writable=True, actor="puller", reason="again") as transaction:
        transaction.update_info(layer_name(0), {REF_LABEL: f"{turn}"})


def _read_on(store: MetaStore, done: threading.Event) -> None:
    while not done.is_set():
        for number in range(_LOOK_EACH):
            list(store.history(layer_name(number), reverse=True))
            if done.is_set():
                return


def _watched(bench: Bench, path: str, turn: int) -> Figures:
    """Watch in one process what another commits; return how long a batch is on its way."""
    ready = f"{bench.path('watch')}-{turn}"
    ours, given = bench.sources[0], {"path": path, "ready": ready, "commits": bench.sizes.commits}
    with ThreadPoolExecutor(2) as threads:
        watching = threads.submit(measured, ours, seen_by_a_watch, **given)
        committed = measured(ours, committing, **given)
        seen = watching.result()
    late = [seen[each] - committed[each] for each in committed]
    return {"watch_p50_ms": statistics.median(late) * 1e3, "watch_longest_ms": max(late) * 1e3}


def seen_by_a_watch(path: str, ready: str, commits: int) -> Figures:
    """Return when each batch was seen, by its revision."""
    seen: Figures = {}
    with MetaStore.open(path, read_only=True) as store, store.watch(timeout=60) as watch:
        Path(ready).touch()
        for batch in watch:
            seen[str(batch.revision)] = time.monotonic()
            if len(seen) == commits:
                break
    return seen


def committing(path: str, ready: str, commits: int) -> Figures:
    """Return when each commit returned, by its revision."""
    committed: Figures = {}
    with MetaStore.open(path) as store:
        while not Path(ready).exists():
            time.sleep(0.01)
        for turn in range(commits):
            _relabel(store, turn)
            committed[str(store.stats()["durable_revision"])] = time.monotonic()
            time.sleep(0.003)
    return committed


def backed_up(path: str, target: str) -> Figures:
    """Back it up, and once more after some batches."""
    with MetaStore.open(path) as store:
        start = time.perf_counter()
        store.backup(target)
        first_s = time.perf_counter() - start
        for turn in range(_BACKED_UP):
            _relabel(store, turn)
        logged = store.stats()["appended_bytes"]
        start = time.perf_counter()
        report = store.backup(target)
    return {
        "backup_s": first_s,
        "backup_again_s": time.perf_counter() - start,
        "backup_again_bytes_ratio": report.added_bytes / logged,
    }


def _size_bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files)
