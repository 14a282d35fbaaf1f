"""Power cuts of real ext4 and xfs file systems, under a writer, a compaction and a follower.

After the cut the processes are killed, the file system is unmounted and mounted again, so that the
kernel replays its journal, and the store is judged. A follower shows durable batches only, so what
it showed must be there, too.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from kernel import reports
from kernel.mounts import loop_image
from kernel.oracle import Oracle
from kernel.processes import WorkerProcess
from kernel.workload import RETENTIONS

from eventstore.files.local import LocalFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kernel.mounts import LoopImage

_ROUNDS_A_STORE = 10
# What decides which of the writes that nobody has synced reach the device, and in which order.
_MOUNT_OPTIONS = {
    "ext4": ("data=ordered", "data=writeback", "data=journal", "commit=1", "nodelalloc"),
    "xfs": ("rw", "wsync", "logbsize=256k"),
}


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cuts_lose_no_acknowledged_batch(
    kind: str, tmp_path: Path, deep: bool, kernel_seed: int, record_proof: Callable[..., None]
) -> None:
    oracle = Oracle()
    choice = random.Random(kernel_seed)
    rounds = 400 if deep else 8
    with loop_image(tmp_path, kind) as image:
        for number in range(rounds):
            if number % _ROUNDS_A_STORE == 0:
                oracle.begin_store()
                retention = choice.choice(sorted(RETENTIONS))
                store = image.mount_point / f"store-{number}"
            reports_path = tmp_path / f"reports-{number}"
            reports_path.mkdir()
            _run_round(image, store, reports_path, retention, oracle, choice)
            image.unmount()
            image.mount(choice.choice(_MOUNT_OPTIONS[kind]))
    oracle.require_nothing_wrong()
    assert oracle.acknowledged > oracle.rounds
    record_proof(f"power cuts {kind}", **oracle.counts())


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_no_sync_succeeds_once_the_file_system_has_shut_down(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = LocalFileSystem()
    with loop_image(tmp_path, kind) as image:
        directory = str(image.mount_point)
        file = medium.create(f"{directory}/file")
        file.write(0, b"data")
        file.sync()
        medium.rename(file.path, f"{directory}/renamed")

        def cut_and_sync(descriptor: int, fsync: Callable[[int], None] = os.fsync) -> None:
            image.cut_power()
            fsync(descriptor)

        # Between the opening of the directory and its fsync, which then succeeds on xfs.
        monkeypatch.setattr(os, "fsync", cut_and_sync)
        with pytest.raises(OSError, match="Input/output error"):
            medium.sync_directory(directory)
        with pytest.raises(OSError, match="Input/output error"):
            file.sync()
        file.close()


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_name_survives_a_power_cut_once_its_directory_is_synced(
    kind: str, tmp_path: Path
) -> None:
    medium = LocalFileSystem()
    with loop_image(tmp_path, kind) as image:
        directory = str(image.mount_point)
        file = medium.create(f"{directory}/file")
        file.write(0, b"data")
        file.sync()
        file.close()
        medium.rename(file.path, f"{directory}/renamed")
        medium.sync_directory(directory)
        image.cut_power()
        image.unmount()
        image.mount()
        assert set(medium.list_directory(directory)) - {"lost+found"} == {"renamed"}


def _run_round(
    image: LoopImage,
    store: Path,
    reports_path: Path,
    retention: str,
    oracle: Oracle,
    choice: random.Random,
) -> None:
    def start(role: str) -> WorkerProcess:
        return WorkerProcess(
            role,
            store,
            reports_path / f"{role}-{reports_path.name}",
            author=role[0],
            retention=retention,
            seed=choice.randrange(1 << 30),
        )

    workers = [start("write"), start("follow")]
    try:
        # One in four is cut while the store is made or recovered.
        if choice.random() < 0.75:
            workers[0].wait_until_told(reports.OPENED)
        time.sleep(choice.uniform(0.0, 0.4))
        cut_ns = image.cut_power()
        # The processes may live on for a while, and must not take back what they know.
        time.sleep(choice.choice((0.0, 0.05)))
    finally:
        for worker in workers:
            worker.kill()
    image.unmount()
    image.mount()
    judged = store
    if choice.random() < 0.5:
        # A copy, so that it is the next writer that recovers what the cut has left.
        judged = reports_path / "copy"
        if store.exists():
            shutil.copytree(store, judged)
    oracle.judge(judged, workers, retention, choice.randrange(1 << 30), fault_ns=cut_ns)
    shutil.rmtree(reports_path)
