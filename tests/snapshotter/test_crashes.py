"""The driver's calls on a simulated disk, crashed at every operation.

After each recovery a start settles, and then each snapshot has its whole directory, and no
directory is anything else (`snapshotter.domain`).
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from snapshotter.domain import Driven, Driver, SimulatedDirectories

from eventstore.testing import (
    DEEP,
    Depth,
    InconsistencyError,
    NotedStore,
    Report,
    check_crash_replay,
    explore,
)
from eventstore.testing.replay import Replay
from eventstore.testing.script import Transaction
from projections.snapshots import Usage
from snapledger.snapshotter import metadata
from snapledger.snapshotter.metadata import Snapshotter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from snapshotter.model import Call

BRIEF = Depth(images=4, double_crashes=0, double_crashes_after_kill=0, verify_every=1000)
AFTER = "after"


@pytest.fixture(autouse=True)
def no_real_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure nothing: the simulated directories are empty."""
    monkeypatch.setattr(metadata, "usage", lambda _: Usage(1, 4096))


STORY: list[Call] = [
    ("prepare", "n/1/a", ""),
    ("commit", "n/1/a", "n/2/base"),
    ("prepare", "n/3/b", "n/2/base"),
    ("prepare", "n/3/b", "n/2/base"),
    ("view", "n/4/v", "n/2/base"),
    ("commit", "n/3/b", "n/5/top"),
    ("commit", "n/3/b", "n/7/top"),
    ("remove", "n/2/base"),
    ("remove", "n/4/v"),
    ("cleanup",),
    ("prepare", "n/6/c", "n/7/top"),
    ("remove", "n/6/c"),
]


def crashed(driver: Driver, calls: list[Call], depth: Depth, *, stop_early: bool = False) -> Report:
    """Make calls beside the model, crash them, and use what each crash leaves."""
    replay = Replay(driver, [Transaction((call,), commits=True) for call in calls])

    def inspect(store: NotedStore) -> None:
        driven = Driven(store, removes_later=False)
        if AFTER in driven.snapshots():  # an earlier look was crashed before the removal
            driven.call(("remove", AFTER))
        replay.inspect(store)
        driven.call(("prepare", AFTER, ""))
        assert AFTER in driven.snapshots()
        driven.call(("remove", AFTER))
        assert AFTER not in driven.snapshots()

    return explore(
        replay.run,
        driver.projections,
        depth=depth,
        inspect=inspect,
        stop_early=stop_early,
    )


@pytest.mark.parametrize("is_later", [False, True], ids=["removal at once", "removal later"])
def test_a_crash_anywhere_leaves_each_snapshot_its_directory(
    is_later: bool, deep: bool, record_proof: Callable[..., None]
) -> None:
    depth = DEEP if deep else Depth(crash_points=25, images=4, double_crashes=1)
    report = crashed(Driver(is_later), STORY, depth)
    report.require_sound()
    record_proof(
        "crashes of the containerd driver",
        crash_points=report.crash_points,
        images=report.images,
        recoveries=report.recoveries,
    )


@pytest.mark.parametrize("is_later", [False, True], ids=["removal at once", "removal later"])
def test_the_kit_finds_nothing_wrong_with_the_driver(is_later: bool) -> None:
    checked = check_crash_replay(
        Driver(is_later),
        settings=settings(max_examples=settings().max_examples // 4),
        depth=Depth(crash_points=6, images=3, double_crashes=0, double_crashes_after_kill=1),
    )
    assert checked.batches > 0


def test_an_unsynced_directory_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedDirectories, "sync_stage", lambda *_: None)
    assert not crashed(Driver(), STORY[:2], BRIEF, stop_early=True).is_sound


def test_the_kit_prints_the_calls_after_which_a_driver_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedDirectories, "settle", lambda *_: None)
    with pytest.raises(InconsistencyError) as caught:
        check_crash_replay(Driver(), settings=settings(max_examples=30), depth=BRIEF)
    found = str(caught.value)
    program = "\n".join(line[4:] for line in found.splitlines() if line.startswith("    "))
    assert "\ndomain.execute(store, ('prepare', 'n/1/a', ''))\n" in program
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {}
    with pytest.raises(AssertionError, match="belong to no snapshot"):
        exec(program, names)
    names["engine"].close()


def test_a_removal_before_its_commit_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(self: Snapshotter, key: str) -> None:
        with self.store.transaction(writable=True) as transaction:
            snapshot_id, _ = transaction.remove(key)
            self._directories.remove(snapshot_id)

    monkeypatch.setattr(Snapshotter, "remove", remove)
    report = crashed(Driver(), [STORY[0], ("remove", "n/1/a")], BRIEF, stop_early=True)
    assert not report.is_sound
