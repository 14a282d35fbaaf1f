"""The driver's calls on a simulated disk, crashed at every operation.

Store and directories are on one medium, so a power cut leaves of both what it may leave: names that
were not synced are there or not, in any combination. After each recovery a start settles, and then
each snapshot has its whole directory, and no directory is anything else.

It is made of what a `Domain` of the kit is made of: commands, a model, what is observed. A `Domain`
itself has several commands in one transaction, and rolls some back; a driver's call is a
transaction of its own, with work on the disk around it. So this calls `explore`, which that is
built on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshotter.model import EMPTY, Call, Model

from eventstore.testing import DEEP, Depth, NotedStore, Session, explore
from projections.snapshots import Kind, MetaStore, SnapshotError, SnapshotsProjection, Usage
from snapledger.snapshotter import metadata
from snapledger.snapshotter.directories import Directories
from snapledger.snapshotter.metadata import Options, Snapshotter
from snapledger.snapshotter.settling import settle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from eventstore import FileSystem
    from projections.snapshots import Snapshot
    from snapledger.snapshotter.strategy import Mount

ROOT = "/snapshots"
AFTER = "after"
BRIEF = Depth(images=4, double_crashes=0, double_crashes_after_kill=0, verify_every=1000)


class SimulatedDirectories(Directories):
    """Directories on a simulated file system, which keeps no order that was not asked for."""

    def __init__(self, file_system: FileSystem) -> None:
        self._file_system = file_system
        super().__init__(ROOT)

    def _keeps_order(self) -> bool:
        return False

    def _is_there(self, path: str) -> bool:
        return self._file_system.exists(path)

    def names(self) -> list[str]:
        return self._file_system.list_directory(ROOT)

    def _make(self, path: str) -> None:
        self._file_system.make_directory(path)

    def _rename(self, source: str, target: str) -> None:
        self._file_system.rename(source, target)

    def _remove_tree(self, path: str) -> None:
        if self._file_system.exists(path):
            for name in self._file_system.list_directory(path):
                self._file_system.remove_directory(f"{path}/{name}")
            self._file_system.remove_directory(path)

    def _sync(self, path: str) -> None:
        self._file_system.sync_directory(path)


class SimulatedStrategy:
    """Overlay's directories, without their mounts."""

    name = "simulated"

    def __init__(self, file_system: FileSystem) -> None:
        self._file_system = file_system

    def fill(
        self, directory: str, kind: Kind, parent_id: str | None, labels: Mapping[str, str]
    ) -> list[str]:
        _ = kind, labels
        assert parent_id is None or self._file_system.is_directory(f"{ROOT}/{parent_id}/fs")
        self._file_system.make_directory(f"{directory}/fs")
        self._file_system.make_directory(f"{directory}/work")
        return [directory, f"{directory}/fs", f"{directory}/work"]

    def mounts(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        _ = snapshot
        return ()

    def content(self, snapshot_id: str) -> str:
        return f"{ROOT}/{snapshot_id}/fs"

    def needs_directory(self, kind: Kind, parent: str) -> bool:
        _ = kind, parent
        return True


def started(store: NotedStore, options: Options) -> Snapshotter:
    """Start a driver on a store's file system."""
    file_system = store._session.file_system
    directories, strategy = SimulatedDirectories(file_system), SimulatedStrategy(file_system)
    metastore = MetaStore(store)
    settled = settle(metastore, directories, strategy)
    assert settled.missing == ()
    assert settled.unknown == ()
    return Snapshotter(metastore, directories, strategy, options)


def check_disk(snapshotter: Snapshotter, *, has_leftovers: bool = False) -> None:
    """Check that each snapshot has its whole directory, and that no directory is another's."""
    directories = snapshotter._directories
    assert isinstance(directories, SimulatedDirectories)
    with snapshotter.store.transaction() as now:
        live = set(now.id_map())
    names = set(directories.names())
    assert names >= live if has_leftovers else names == live
    for each in live:
        assert directories._file_system.list_directory(f"{ROOT}/{each}") == ["fs", "work"]


def observed(store: MetaStore) -> dict[str, tuple[Kind, str]]:
    """Return kinds and parents by name, but of what `Calls.inspect` makes."""
    with store.transaction() as now:
        infos = list(now.walk_info())
    return {info.name: (info.kind, info.parent) for info in infos if info.name != AFTER}


def make(snapshotter: Snapshotter, call: Call) -> bool:
    """Make one of the driver's calls; return whether it was not refused."""
    try:
        match call:
            case ("prepare", key, parent):
                snapshotter.create(Kind.ACTIVE, key, parent, {})
            case ("view", key, parent):
                snapshotter.create(Kind.VIEW, key, parent, {})
            case ("commit", key, name):
                snapshotter.commit(key, name, {})
            case ("remove", key):
                snapshotter.remove(key)
            case ("cleanup",):
                snapshotter.cleanup()
    except SnapshotError:
        return False
    return True


class Calls:
    """A run of calls beside the model, which is remembered by the last batch after each."""

    def __init__(self, calls: list[Call], options: Options) -> None:
        self._calls = calls
        self._options = options
        self._models: dict[bytes, Model] = {}

    def run(self, session: Session) -> None:
        """Make the calls; after each, disk, metadata and model agree."""
        store, model = session.open(), EMPTY
        snapshotter = started(store, self._options)
        for call in self._calls:
            after = model.after(call)
            assert make(snapshotter, call) == (after is not None), call
            model = after or model
            self._compare(snapshotter.store, model)
            check_disk(snapshotter, has_leftovers=self._options.remove_asynchronously)
            for record in store.raw_records():
                last = record.digest
            if model is not EMPTY:
                self._models[last] = model
        store.close()

    def inspect(self, store: NotedStore) -> None:
        """Compare a recovered store with the model, start a driver, and prepare something."""
        digests = [record.digest for record in store.raw_records()]
        known = [self._models[digest] for digest in digests if digest in self._models]
        self._compare(MetaStore(store), known[-1] if known else EMPTY)
        snapshotter = started(store, Options())
        check_disk(snapshotter)
        # An earlier look may have been crashed before the removal.
        make(snapshotter, ("remove", AFTER))
        snapshotter.create(Kind.ACTIVE, AFTER, "", {})
        check_disk(snapshotter)
        snapshotter.remove(AFTER)
        check_disk(snapshotter)

    def _compare(self, store: MetaStore, model: Model) -> None:
        expected = {name: (each.kind, each.parent) for name, each in model.snapshots.items()}
        assert observed(store) == expected


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


@pytest.mark.parametrize("is_later", [False, True], ids=["removal at once", "removal later"])
def test_a_crash_anywhere_leaves_each_snapshot_its_directory(
    is_later: bool, deep: bool, record_proof: Callable[..., None]
) -> None:
    calls = Calls(STORY, Options(remove_asynchronously=is_later))
    report = explore(
        calls.run,
        [SnapshotsProjection()],
        depth=DEEP if deep else Depth(crash_points=25, images=4, double_crashes=1),
        inspect=calls.inspect,
    )
    report.require_sound()
    record_proof(
        "crashes of the containerd driver",
        crash_points=report.crash_points,
        images=report.images,
        recoveries=report.recoveries,
    )


_KEYS = st.sampled_from(["n/1/a", "n/2/b", "n/3/c"])
_NAMES = st.sampled_from(["", "n/4/x", "n/5/x", "n/6/y"])
_CALLS = st.one_of(
    st.tuples(st.just("prepare"), _KEYS, _NAMES),
    st.tuples(st.just("view"), _KEYS, _NAMES),
    st.tuples(st.just("commit"), _KEYS, _NAMES.filter(bool)),
    st.tuples(st.just("remove"), _KEYS | _NAMES.filter(bool)),
    st.just(("cleanup",)),
)


@given(calls=st.lists(_CALLS, min_size=3, max_size=12), is_later=st.booleans())
@settings(max_examples=settings().max_examples // 6, suppress_health_check=list(HealthCheck))
def test_any_calls_crashed_somewhere_leave_each_snapshot_its_directory(
    calls: list[Call], is_later: bool
) -> None:
    made = Calls(calls, Options(remove_asynchronously=is_later))
    explore(
        made.run,
        [SnapshotsProjection()],
        depth=Depth(crash_points=6, images=3, double_crashes=0, double_crashes_after_kill=1),
        inspect=made.inspect,
    ).require_sound()


def test_an_unsynced_directory_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedDirectories, "sync_stage", lambda *_: None)
    calls = Calls(STORY[:2], Options())
    report = explore(
        calls.run,
        [SnapshotsProjection()],
        depth=BRIEF,
        inspect=calls.inspect,
        stop_early=True,
    )
    assert not report.is_sound


def test_a_removal_before_its_commit_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(self: Snapshotter, key: str) -> None:
        with self.store.transaction(writable=True) as transaction:
            snapshot_id, _ = transaction.remove(key)
            self._directories.remove(snapshot_id)

    monkeypatch.setattr(Snapshotter, "remove", remove)
    report = explore(
        Calls([STORY[0], ("remove", "n/1/a")], Options()).run,
        [SnapshotsProjection()],
        depth=BRIEF,
        inspect=lambda store: check_disk(started(store, Options())),
        stop_early=True,
    )
    assert not report.is_sound
