"""`kill -9` at random, of a writer of several threads, followers and a lock taker on one store.

Nothing is lost by the kernel here, since the page cache outlives a process; what is put to the
test is what a process leaves behind: half-written groups, half-made segments, checkpoints and
archive files, a lock, mapped files.
"""

from __future__ import annotations

import random
import shutil
import time
from typing import TYPE_CHECKING

from kernel import reports
from kernel.oracle import Oracle
from kernel.processes import WorkerProcess
from kernel.workload import RETENTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_ROUNDS_A_STORE = 6


class _Torture:
    """One store and its processes, through several rounds."""

    def __init__(self, directory: Path, oracle: Oracle, seed: int) -> None:
        self._directory = directory
        self._store = directory / "store"
        self._oracle = oracle
        self._random = random.Random(seed)
        self._retention = self._random.choice(sorted(RETENTIONS))
        self._started = 0
        # Those that live on when the writer is killed.
        self._others = [self._start(role) for role in ("follow", "follow", "take")]

    def run(self, rounds: int) -> None:
        self._oracle.begin_store()
        try:
            for _ in range(rounds):
                self._run_round()
        finally:
            for worker in self._others:
                worker.kill()

    def _run_round(self) -> None:
        writer = self._start("write")
        try:
            # One in four is killed while it starts, opens, or waits for the lock.
            if self._random.random() < 0.75:
                writer.wait_until_told(reports.OPENED)
            time.sleep(self._random.uniform(0.0, 0.3))
        finally:
            writer.kill()
        workers = [writer, *self._others]
        seed = self._random.randrange(1 << 30)
        if self._random.random() < 0.5:
            self._oracle.judge(self._store, workers, self._retention, seed)
        else:
            self._judge_copy(workers, seed)
        self._replace_some()

    def _judge_copy(self, workers: Sequence[WorkerProcess], seed: int) -> None:
        """Judge a copy, so that it is the next writer that recovers what was left behind."""
        for worker in self._others:
            worker.kill()
        copy = self._directory / "copy"
        if self._store.exists():
            shutil.copytree(self._store, copy)
        self._oracle.judge(copy, workers, self._retention, seed)
        shutil.rmtree(copy)
        self._others = [self._start(role) for role in ("follow", "follow", "take")]

    def _replace_some(self) -> None:
        """Kill one of the others now and then, and start another in its place."""
        if self._random.random() < 0.3:
            place = self._random.randrange(len(self._others))
            self._others[place].kill()
            self._oracle.hear(self._others)
            self._others[place] = self._start(("follow", "follow", "take")[place])

    def _start(self, role: str) -> WorkerProcess:
        self._started += 1
        return WorkerProcess(
            role,
            self._store,
            self._directory / f"{role}-{self._started}.report",
            author=role[0],
            retention=self._retention,
            seed=self._random.randrange(1 << 30),
        )


def test_killed_processes_leave_every_acknowledged_batch_and_nothing_else(
    tmp_path: Path, deep: bool, kernel_seed: int, record_proof: Callable[..., None]
) -> None:
    oracle = Oracle()
    choice = random.Random(kernel_seed)
    for number in range(80 if deep else 2):
        directory = tmp_path / str(number)
        directory.mkdir()
        _Torture(directory, oracle, choice.randrange(1 << 30)).run(_ROUNDS_A_STORE)
        shutil.rmtree(directory)
    oracle.require_nothing_wrong()
    assert oracle.acknowledged > oracle.rounds
    assert oracle.shown_by_followers > 0
    assert oracle.refused_lock_takers > 0
    record_proof("kills -9", **oracle.counts())
