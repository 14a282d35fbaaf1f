"""A driver that keeps to the two orders of intents is cut off anywhere, and disk and store agree.

The driver's directories are on the same simulated disk as the store, so that a power cut takes from
both what was not synced.
"""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING

import pytest

from eventstore import EventStoreError
from eventstore.testing import SMALL, STORE_PATH, SimulatedFileSystem
from projections.snapshots import Kind, MetaStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from projections.snapshots import Intent

ROOT = "/snapshots"


class Driver:
    """Directories on a simulated disk, and the store beside them."""

    def __init__(self, disk: SimulatedFileSystem) -> None:
        self.disk = disk
        if not disk.exists(ROOT):
            disk.make_directory(ROOT)
            disk.sync_directory("/")
        self.settled: list[int] = []
        self.store = MetaStore.open(
            STORE_PATH,
            options=SMALL,
            file_system=disk,
            handlers={"prepare": self.undo, "place": self.place},
        )

    def undo(self, intent: Intent) -> None:
        self.settled.append(intent.number)
        assert not intent.is_staged
        self.remove_directory(f"{ROOT}/{intent.id}")

    def place(self, intent: Intent) -> None:
        self.settled.append(intent.number)
        assert intent.is_staged
        source = f"{ROOT}/{intent.data['from']}"
        if self.disk.exists(source):
            self.disk.rename(source, f"{ROOT}/{intent.id}")
        self.disk.sync_directory(ROOT)

    def remove_directory(self, path: str) -> None:
        if self.disk.exists(path):
            self.disk.remove_directory(path)
            self.disk.sync_directory(ROOT)

    def prepare_begun(self, key: str) -> None:
        with self.store.intent("prepare", key, reserve_id=True, actor="driver") as intent:
            self.disk.make_directory(f"{ROOT}/{intent.id}")
            self.disk.sync_directory(ROOT)
            with self.store.transaction(writable=True, actor="driver") as tx:
                tx.create_snapshot(Kind.ACTIVE, key, intent=intent)

    def prepare_staged(self, key: str) -> None:
        with self.store.staging() as name:
            self.disk.make_directory(f"{ROOT}/{name}")
            self.disk.sync_directory(ROOT)
            with self.store.transaction(writable=True, actor="driver") as tx:
                snapshot_id = tx.create_snapshot(Kind.ACTIVE, key).id
                intent = self.store.stage(tx, "place", key, {"from": name}, id=snapshot_id)
            self.disk.rename(f"{ROOT}/{name}", f"{ROOT}/{snapshot_id}")
            self.disk.sync_directory(ROOT)
            self.store.finished(intent)

    def remove(self, key: str) -> None:
        with self.store.transaction(writable=True, actor="driver") as tx:
            snapshot_id, _ = tx.remove(key)
        self.remove_directory(f"{ROOT}/{snapshot_id}")

    def clean(self) -> None:
        found = self.store.reconcile(lambda: self.disk.list_directory(ROOT))
        assert found.missing == {}
        assert found.in_flight == {}
        for name in (*found.removed, *found.unknown):
            self.remove_directory(f"{ROOT}/{name}")


def work(driver: Driver, prepare: Callable[[Driver, str], None], acknowledged: set[str]) -> None:
    for key in ("a", "b"):
        prepare(driver, key)
        acknowledged.add(key)
    acknowledged.discard("a")
    driver.remove("a")
    driver.store.checkpoint()
    prepare(driver, "c")
    acknowledged.add("c")
    driver.store.close()


def check_recovered(disk: SimulatedFileSystem, acknowledged: set[str], *, at: str) -> None:
    driver = Driver(disk)
    assert len(driver.settled) == len(set(driver.settled)), at
    assert driver.store.intents() == (), at
    driver.clean()
    with driver.store.transaction() as now:
        ids = now.id_map()
    assert sorted(disk.list_directory(ROOT)) == sorted(ids), at
    assert acknowledged <= set(ids.values()), at
    driver.prepare_begun("after")
    driver.prepare_staged("after that")
    driver.store.check()
    with driver.store.transaction() as now:
        assert set(disk.list_directory(ROOT)) == set(now.id_map()), at
    driver.store.close()


@pytest.mark.parametrize("prepare", [Driver.prepare_begun, Driver.prepare_staged])
def test_disk_and_store_agree_after_a_crash_at_any_call(
    prepare: Callable[[Driver, str], None], deep: bool
) -> None:
    def run() -> tuple[SimulatedFileSystem, set[str], bool]:
        disk, acknowledged = SimulatedFileSystem(keep_steps=False), set[str]()
        disk.cut_power(after_calls=calls)
        with contextlib.suppress(OSError, EventStoreError):
            work(Driver(disk), prepare, acknowledged)
            return disk, acknowledged, True
        return disk, acknowledged, False

    calls, images = 0, 40 if deep else 4
    while True:
        disk, acknowledged, is_whole = run()
        check_recovered(disk.after_kill(), acknowledged, at=f"killed after {calls} calls")
        for number, image in enumerate(disk.images(images, Random(calls))):
            at = f"power cut after {calls} calls, image {number}: {image.describe()}"
            check_recovered(SimulatedFileSystem(image.medium), acknowledged, at=at)
        if is_whole:
            break
        calls += 1 if deep else 2
    assert calls > 30
