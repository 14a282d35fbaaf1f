"""A handle that is dropped without a close is collected, says so, and lets go of its store."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from support.ledger import Ledger, open_account

from eventstore import EventStore, StoreLockedError, StoreOptions
from eventstore.log.preparer import Preparer
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = StoreOptions(segment_bytes=4096)
SECONDS = 10


@pytest.fixture
def no_cycles() -> Iterator[None]:
    """Have nothing collected but by the last reference that is gone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def opened(path: Path, options: StoreOptions = SMALL, **arguments: Any) -> EventStore:
    return EventStore.open(path, [Ledger()], options=options, **arguments)


def commit(store: EventStore, number: int = 1) -> None:
    with store.transaction(writable=True, actor="x" * 512) as tx:
        open_account(tx, f"account {number}")


def own_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("eventstore")]


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("no_cycles")
@pytest.mark.parametrize("background", [True, False])
def test_dropped_handle_warns_and_the_next_one_has_its_store(
    tmp_path: Path, background: bool
) -> None:
    options = StoreOptions(segment_bytes=4096, background=background)
    store = opened(tmp_path / "store", options)
    for number in range(20):  # so that spares are prepared by a thread too
        commit(store, number)
    with pytest.warns(ResourceWarning, match="store: the store was dropped without a close"):
        del store
    assert own_threads() == []
    with opened(tmp_path / "store") as store, store.transaction() as now:
        assert now.revision == 20


@pytest.mark.usefixtures("no_cycles")
def test_another_process_has_the_store_after_the_drop(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    commit(store)
    with pytest.warns(ResourceWarning):
        del store
    program = (
        "import sys; from eventstore import EventStore; from support.ledger import Ledger\n"
        "with EventStore.open(sys.argv[1], [Ledger()]) as store:\n"
        "    print(store.stats()['revision'])\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "store"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (child.stdout, child.stderr) == ("1\n", "")


@pytest.mark.usefixtures("no_cycles")
def test_hundred_dropped_handles_leave_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    before = descriptors()
    for number in range(100):
        store = opened(tmp_path / "store", StoreOptions(segment_bytes=4096))
        commit(store, number)
        with pytest.warns(ResourceWarning):
            del store
    assert own_threads() == []
    assert descriptors() <= before + 1
    follower = opened(tmp_path / "store", read_only=True)
    with pytest.warns(ResourceWarning):
        del follower
    assert descriptors() <= before + 1


def test_handle_in_a_circle_is_let_go_of_by_the_collector(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    commit(store)
    circle: list[Any] = [store]
    circle.append(circle)
    del store, circle
    with pytest.warns(ResourceWarning, match="dropped without a close"):
        gc.collect()
    opened(tmp_path / "store").close()


def test_handle_that_is_dropped_by_its_own_thread_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.maintenance.background._LOOK_SECONDS", 0.01)
    store = opened(tmp_path / "store")
    commit(store)
    circle: list[Any] = [store]
    assert store._upkeep is not None
    background = store._upkeep._background
    collected_by: list[str] = []

    def collect() -> bool:
        if not collected_by and not circle:
            collected_by.append(threading.current_thread().name)
            gc.collect()
        return False

    background._is_due = collect
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        kept: list[Any] = [store]
        kept.append(kept)
        del store, kept
        circle.clear()
        deadline = time.monotonic() + SECONDS
        while own_threads() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert collected_by == ["eventstore-maintenance"]
    assert own_threads() == []
    opened(tmp_path / "store").close()


@pytest.mark.usefixtures("no_cycles")
@pytest.mark.filterwarnings("error")
def test_iterators_keep_the_handle_that_nobody_else_has(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        commit(store)
    path = tmp_path / "store"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert len([*opened(path).batches()]) == 1
        assert len([*opened(path).dump()]) == 2
        assert [batch.revision for batch in opened(path).watch(1, timeout=0)] == [1]
        for name in ("dump", "batches"):
            kept = getattr(opened(path), name)()
            next(kept)
            with pytest.raises(StoreLockedError):
                opened(path)
            assert len([*kept]) == (name == "dump")
            del kept


@pytest.mark.usefixtures("no_cycles")
@pytest.mark.filterwarnings("error")
def test_handle_on_a_simulated_disk_is_dropped_without_a_word() -> None:
    disk = SimulatedFileSystem()
    store = EventStore.open("/store", [Ledger()], file_system=disk)
    disk.cut_power()
    del store


@pytest.mark.usefixtures("no_cycles")
@pytest.mark.filterwarnings("error")
def test_closed_handle_is_dropped_without_a_word(tmp_path: Path) -> None:
    for read_only in (False, True):
        store = opened(tmp_path / "store", read_only=read_only)
        store.close()
        del store


def test_thread_that_prepares_segments_does_not_wait_for_itself() -> None:
    ended: list[bool] = []

    class Spares:
        def prepare(self, pause: object) -> None:
            preparer.close()  # as a finalizer that runs in it would
            ended.append(True)

    preparer = Preparer(Spares())  # type: ignore[arg-type]
    preparer.request()
    deadline = time.monotonic() + SECONDS
    while not ended and preparer._thread.is_alive() and time.monotonic() < deadline:  # type: ignore[union-attr]
        time.sleep(0.01)
    assert ended == [True]
    preparer.close()
