"""Benchmarks: `python -m tools.bench`. Prints medians and ratios from one run on one disk.

What is compared is measured in turns, round by round, so that a disk that changes its speed
changes both sides. Nothing here is a test: a machine that is busy with something else shows it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventstore import StoreOptions
from projections.snapshots import Info, Kind, MetaStore, Usage, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OPTIONS = StoreOptions(background=False)
_FILL_BATCH = 10_000
_ROUNDS = 10
_PARENT = "sha256:" + "f" * 64


def layer_name(number: int) -> str:
    """Return a name as containerd gives them: 71 characters, in no order."""
    return f"sha256:{number * 0x9E3779B97F4A7C15 % 2**64:064x}"


def fill(store: MetaStore, count: int) -> None:
    """Put snapshots into a store, each with a parent, a label and usage."""
    base = Info(_PARENT, "", Kind.COMMITTED, {}, 1, 1)
    for start in range(0, count, _FILL_BATCH):
        with store.transaction(writable=True, actor="bench") as transaction:
            if start == 0:
                transaction.emit(events.imported(id_number=1, info=base, usage=Usage(1, 1)))
            for number in range(start, min(start + _FILL_BATCH, count)):
                labels = {"containerd.io/snapshot.ref": layer_name(number)[-12:]}
                info = Info(layer_name(number), _PARENT, Kind.COMMITTED, labels, number, number)
                usage = Usage(12, 688128)
                transaction.emit(events.imported(id_number=number + 2, info=info, usage=usage))
            transaction.emit(events.id_counter_imported(start + _FILL_BATCH + 2))


class Creates:
    """Durable transactions that each create one snapshot."""

    def __init__(self, store: MetaStore) -> None:
        self._store = store
        self._number = 0

    def run(self, count: int, prefix: str = "c") -> list[float]:
        """Run some and return the seconds that each took."""
        seconds = []
        for _ in range(count):
            self._number += 1
            key = f"extract-{prefix}-{self._number}-{time.monotonic_ns()}"
            start = time.perf_counter()
            with self._store.transaction(writable=True, actor="bench") as transaction:
                transaction.create_snapshot(Kind.ACTIVE, key, _PARENT)
            seconds.append(time.perf_counter() - start)
        return seconds


class RawAppends:
    """The floor: one pwrite and one fdatasync of as many bytes, into a preallocated file."""

    def __init__(self, path: str, record_bytes: int) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.pwrite(self._descriptor, bytes(16 * 1024 * 1024), 0)
        os.fsync(self._descriptor)
        self._record = b"r" * record_bytes
        self._offset = 0

    def run(self, count: int) -> list[float]:
        """Run some and return the seconds that each took."""
        seconds = []
        for _ in range(count):
            start = time.perf_counter()
            os.pwrite(self._descriptor, self._record, self._offset)
            os.fdatasync(self._descriptor)
            seconds.append(time.perf_counter() - start)
            self._offset += len(self._record)
        return seconds


class SqliteCreates:
    """The same rows in SQLite: WAL, synchronous=FULL, indexes on parent, kind and label."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
            "CREATE TABLE snapshots (name TEXT PRIMARY KEY, id INTEGER, parent TEXT, kind TEXT,"
            " created INTEGER, updated INTEGER, inodes INTEGER, size INTEGER);"
            "CREATE INDEX by_parent ON snapshots (parent);"
            "CREATE INDEX by_kind ON snapshots (kind);"
            "CREATE TABLE labels (name TEXT, key TEXT, value TEXT, PRIMARY KEY (name, key));"
            "CREATE INDEX by_label ON labels (key, value);"
        )
        self._number = 0

    def run(self, count: int) -> list[float]:
        """Run some and return the seconds that each took."""
        seconds = []
        for _ in range(count):
            self._number += 1
            row = (f"extract-{self._number}", self._number, _PARENT, "active", 1, 1, 0, 0)
            start = time.perf_counter()
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SELECT 1 FROM snapshots WHERE name = ?", row[:1])
            self._connection.execute("INSERT INTO snapshots VALUES (?,?,?,?,?,?,?,?)", row)
            self._connection.execute("COMMIT")
            seconds.append(time.perf_counter() - start)
        return seconds


def bench_commit(directory: Path, count: int) -> dict[str, float]:
    """Compare a durable create with the floor and with SQLite, in turns."""
    with MetaStore.open(directory / "commit", options=_OPTIONS) as store:
        fill(store, 1000)
        creates = Creates(store)
        before = store.stats()["appended_bytes"]
        creates.run(20)
        record_bytes = (store.stats()["appended_bytes"] - before) // 20
        raw = RawAppends(str(directory / "raw"), record_bytes)
        sqlite = SqliteCreates(str(directory / "sqlite.db"))
        times: dict[str, list[float]] = {"create": [], "raw": [], "sqlite": []}
        for _ in range(_ROUNDS):
            times["raw"] += raw.run(count // _ROUNDS)
            times["create"] += creates.run(count // _ROUNDS)
            times["sqlite"] += sqlite.run(count // _ROUNDS)
    medians = {name: statistics.median(seconds) * 1e6 for name, seconds in times.items()}
    return {
        "record_bytes": record_bytes,
        "raw_floor_us": medians["raw"],
        "create_us": medians["create"],
        "create_p99_us": sorted(times["create"])[int(len(times["create"]) * 0.99)] * 1e6,
        "sqlite_us": medians["sqlite"],
        "create_to_floor": medians["create"] / medians["raw"],
        "sqlite_to_create": medians["sqlite"] / medians["create"],
    }


def bench_threads(directory: Path, count: int) -> dict[str, float]:
    """Commit from 1 to 16 threads; each figure is the median rate of some rounds, in turns."""
    rates: dict[int, list[float]] = {1: [], 2: [], 4: [], 8: [], 16: []}
    with MetaStore.open(directory / "threads", options=_OPTIONS) as store:
        fill(store, 1000)
        for _ in range(5):
            for threads, found in rates.items():
                found.append(_rate(store, threads, count // threads))
    medians = {threads: statistics.median(found) for threads, found in rates.items()}
    result = {f"commits_per_s_{threads}": rate for threads, rate in medians.items()}
    return {**result, "ratio_16_to_1": medians[16] / medians[1]}


def _rate(store: MetaStore, threads: int, each: int) -> float:
    workers = [
        threading.Thread(target=Creates(store).run, args=(each, f"t{number}"))
        for number in range(threads)
    ]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * each / (time.perf_counter() - start)


def bench_reads(directory: Path, count: int) -> dict[str, float]:
    """Time a read transaction with one `get_info`."""
    with MetaStore.open(directory / "reads", options=_OPTIONS) as store:
        fill(store, 1000)
        rounds = [_read_round(store, count // _ROUNDS) for _ in range(_ROUNDS)]
    return {"read_get_info_us": statistics.median(rounds) * 1e6}


def _read_round(store: MetaStore, count: int) -> float:
    names = [layer_name(number) for number in range(1000)]
    start = time.perf_counter()
    for number in range(count):
        with store.transaction() as transaction:
            transaction.get_info(names[number % 1000])
    return (time.perf_counter() - start) / count


def bench_size(directory: Path, count: int) -> dict[str, float]:
    """Fill a store, then open it again, each in a new process: memory is measured."""
    path = str(directory / f"size-{count}")
    return {**_in_new_process("filled", path, str(count)), **_in_new_process("opened", path)}


def _in_new_process(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tools.bench", *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(output)
    return figures


def measure_filled(path: Path, count: int) -> dict[str, float]:
    """Fill a store and measure that."""
    with MetaStore.open(path, options=_OPTIONS) as store:
        before = _resident_bytes()
        start = time.perf_counter()
        fill(store, count)
        filled = time.perf_counter() - start
        live_bytes = _resident_bytes() - before
        creates = _create_seconds(store) * 1e6
        start = time.perf_counter()
        store.checkpoint()
        checkpoint = time.perf_counter() - start
        walk = time.perf_counter()
        with store.transaction() as transaction:
            walked = sum(1 for _ in transaction.walk_info())
        walk = (time.perf_counter() - walk) / walked
    return {
        "fill_us": filled / count * 1e6,
        "live_bytes_each": live_bytes / count,
        "create_us": creates,
        "checkpoint_s": checkpoint,
        "walk_us_each": walk * 1e6,
    }


def measure_opened(path: Path) -> dict[str, float]:
    """Open a store and measure that."""
    before = _resident_bytes()
    start = time.perf_counter()
    with MetaStore.open(path, options=_OPTIONS) as store:
        opened = time.perf_counter() - start
        opened_bytes = _resident_bytes() - before
        rows = store.stats()["rows"]["snapshots"]
        names = [layer_name(number * (rows // 1100)) for number in range(1000)]
        start = time.perf_counter()
        for name in names:
            with store.transaction() as transaction:
                transaction.get_info(name)
        first_reads = (time.perf_counter() - start) / len(names)
        creates = _create_seconds(store) * 1e6
    return {
        "open_s": opened,
        "opened_bytes_each": opened_bytes / rows,
        "first_read_us": first_reads * 1e6,
        "create_after_open_us": creates,
    }


def _create_seconds(store: MetaStore) -> float:
    """Return the median of some creates on a disk that is done with what was written before."""
    creates = Creates(store)
    creates.run(50)
    os.sync()
    return statistics.median(creates.run(500))


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


@contextlib.contextmanager
def _directory(parent: str | None) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@click.group(invoke_without_command=True)
@click.option("--directory", type=click.Path(), help="On the disk to measure; default: here.")
@click.option("--large", default=1_000_000, show_default=True, help="Snapshots in the large store.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def main(context: click.Context, directory: str | None, large: int, as_json: bool) -> None:
    """Measure the store on this machine and print medians and ratios."""
    if context.invoked_subcommand:
        return
    results: dict[str, dict[str, float]] = {}
    benches: dict[str, Callable[[Path], dict[str, float]]] = {
        "durable create, 1,000 snapshots": lambda path: bench_commit(path, 3000),
        "threads": lambda path: bench_threads(path, 1600),
        "read transaction": lambda path: bench_reads(path, 200_000),
        "1,000 snapshots": lambda path: bench_size(path, 1000),
        f"{large // 10:,} snapshots": lambda path: bench_size(path, large // 10),
        f"{large:,} snapshots": lambda path: bench_size(path, large),
    }
    for name, bench in benches.items():
        with _directory(directory or ".") as path:
            results[name] = bench(path)
        if not as_json:
            _show(name, results[name])
    small, big = results["1,000 snapshots"], results[f"{large:,} snapshots"]
    results["growth"] = {
        "create_large_to_small": big["create_us"] / small["create_us"],
        "create_after_open_large_to_small": big["create_after_open_us"]
        / small["create_after_open_us"],
    }
    if as_json:
        click.echo(json.dumps(results, indent=1))
    else:
        _show("growth, large to small store", results["growth"])


@main.command(hidden=True)
@click.argument("path", type=click.Path(path_type=Path))
def opened(path: Path) -> None:
    """Measure opening a store; run in a process of its own."""
    click.echo(json.dumps(measure_opened(path)))


@main.command(hidden=True)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("count", type=int)
def filled(path: Path, count: int) -> None:
    """Measure filling a store; run in a process of its own."""
    click.echo(json.dumps(measure_filled(path, count)))


def _show(name: str, figures: dict[str, Any]) -> None:
    click.echo(name)
    for figure, value in figures.items():
        click.echo(f"  {figure:<36}{value:>14,.2f}")


if __name__ == "__main__":
    main()
