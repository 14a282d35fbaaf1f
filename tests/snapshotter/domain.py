"""The driver as a `Domain` of the kit: its commands are the driver's calls.

Store and directories are on one medium, so a power cut leaves of both what it may leave: names that
were not synced are there or not, in any combination. A store is wrapped by the start of a driver,
which settles what a crash has left; whoever observes then compares disk and metadata.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from snapshotter.model import EMPTY, Call, Entry, Model

from eventstore.files.local import LocalFileSystem
from eventstore.testing import Domain, NotedStore
from projections.snapshots import Kind, MetaStore, SnapshotError, SnapshotsProjection
from snapledger.snapshotter.directories import Directories
from snapledger.snapshotter.metadata import Options, Snapshotter
from snapledger.snapshotter.settling import settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hypothesis.strategies import SearchStrategy

    from eventstore import EventStore, FileSystem
    from projections.snapshots import Snapshot
    from snapledger.snapshotter.strategy import Mount

_KEYS = st.sampled_from(["n/1/a", "n/2/b"])
_NAMES = st.sampled_from(["n/4/x", "n/5/x", "n/6/y"])
_PARENTS = st.sampled_from(["", "", "", "n/4/x", "n/6/y"])
_PREPARE = st.tuples(st.just("prepare"), _KEYS, _PARENTS)
_COMMIT = st.tuples(st.just("commit"), _KEYS, _NAMES)
_CALLS = st.one_of(
    # Most often these, without which every other call is refused.
    *(_PREPARE, _COMMIT, _PREPARE, _COMMIT),
    st.tuples(st.just("view"), _KEYS, _PARENTS),
    st.tuples(st.just("remove"), _KEYS | _NAMES),
    st.just(("cleanup",)),
)


class SimulatedDirectories(Directories):
    """Directories on a file system of the kit, which keeps no order that was not asked for."""

    def __init__(self, file_system: FileSystem, path: str) -> None:
        self._file_system = file_system
        super().__init__(path)

    def _keeps_order(self) -> bool:
        return False

    def _is_there(self, path: str) -> bool:
        return self._file_system.exists(path)

    def names(self) -> list[str]:
        return self._file_system.list_directory(self.path)

    def inside(self, name: str) -> list[str]:
        return self._file_system.list_directory(self.of(name))

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

    def __init__(self, file_system: FileSystem, path: str) -> None:
        self._file_system = file_system
        self._path = path

    def fill(
        self, directory: str, kind: Kind, parent_id: str | None, labels: Mapping[str, str]
    ) -> list[str]:
        _ = kind, labels
        assert parent_id is None or self._file_system.is_directory(self.content(parent_id))
        self._file_system.make_directory(f"{directory}/fs")
        self._file_system.make_directory(f"{directory}/work")
        return [directory, f"{directory}/fs", f"{directory}/work"]

    def mounts(self, snapshot: Snapshot) -> tuple[Mount, ...]:
        _ = snapshot
        return ()

    def content(self, snapshot_id: str) -> str:
        return f"{self._path}/{snapshot_id}/fs"

    def needs_directory(self, kind: Kind, parent: str) -> bool:
        _ = kind, parent
        return True


class Driven:
    """A driver that was started on a store, beside directories on the store's file system."""

    def __init__(self, store: EventStore, *, removes_later: bool) -> None:
        file_system: FileSystem = LocalFileSystem()  # of a program that the kit has printed
        if isinstance(store, NotedStore):
            file_system = store.file_system
        path = f"{store.path}.snapshots"
        self.directories = SimulatedDirectories(file_system, path)
        strategy = SimulatedStrategy(file_system, path)
        metastore = MetaStore(store)
        settled = settle(metastore, self.directories, strategy)
        assert settled.missing == settled.unknown == (), settled
        self._may_leave = False
        self._removes_later = removes_later
        options = Options(remove_asynchronously=removes_later)
        self._snapshotter = Snapshotter(metastore, self.directories, strategy, options)

    def call(self, call: Call) -> None:
        """Make one of the driver's calls."""
        match call:
            case ("prepare", key, parent):
                self._snapshotter.create(Kind.ACTIVE, key, parent, {})
            case ("view", key, parent):
                self._snapshotter.create(Kind.VIEW, key, parent, {})
            case ("commit", key, name):
                self._snapshotter.commit(key, name, {})
            case ("remove", key):
                self._snapshotter.remove(key)
                self._may_leave = self._removes_later
            case ("cleanup",):
                self._snapshotter.cleanup()
                self._may_leave = False

    @contextmanager
    def transaction(self) -> Iterator[Driven]:
        """Give whoever observes the driver itself."""
        yield self

    def snapshots(self) -> dict[str, Entry]:
        """Return the snapshots; each has its whole directory, and no directory is anything else."""
        with self._snapshotter.store.transaction() as now:
            ids = now.id_map()
            infos = {info.name: info for info in now.walk_info()}
        leftovers = set(self.directories.names()) - set(ids)
        assert self._may_leave or not leftovers, f"{leftovers} belong to no snapshot"
        for each in ids:
            assert self.directories.inside(each) == ["fs", "work"], f"{each} is not whole"
        return {
            name: Entry(int(snapshot_id), str(infos[name].kind), infos[name].parent)
            for snapshot_id, name in ids.items()
        }


@dataclass(frozen=True)
class Driver(Domain[Call, Model]):
    """The containerd driver, beside the plain model of its calls."""

    removes_later: bool = False

    projections = (SnapshotsProjection(),)
    refusals = (SnapshotError,)
    commits_by_itself = True

    def wrap(self, store: EventStore) -> Driven:
        return Driven(store, removes_later=self.removes_later)

    def commands(self) -> SearchStrategy[Call]:
        return _CALLS

    def execute(self, transaction: Driven, command: Call) -> None:
        transaction.call(command)

    def initial(self) -> Model:
        return EMPTY

    def expect(self, model: Model, command: Call) -> Model:
        after = model.after(command)
        if after is None:
            raise SnapshotError
        return after

    def observe(self, transaction: Driven) -> Model:
        return Model(transaction.snapshots())
