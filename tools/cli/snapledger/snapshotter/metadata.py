"""The ten operations of a snapshotter, each with its order of directory and metadata.

They raise the errors of `projections.snapshots` and of the engine. Nothing slow happens in a write
transaction: directories are made, measured and removed outside.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, NamedTuple

from eventstore import BatchTooLargeError, StorageFullError
from projections.snapshots import (
    InvalidArgumentError,
    Kind,
    NotFoundError,
    SnapshotError,
    Usage,
)
from snapledger.snapshotter import audit
from snapledger.snapshotter.directories import usage
from snapledger.snapshotter.labels import check_size
from snapledger.snapshotter.leftovers import ACTOR, OURS, clear, is_removed
from snapledger.snapshotter.repeated import is_repeated_commit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from projections.snapshots import Info, MetaStore, SnapshotTransaction
    from snapledger.snapshotter.directories import Directories
    from snapledger.snapshotter.strategy import Mount, Strategy

_libc = ctypes.CDLL(None, use_errno=True)

_CHANGED_NOTHING = (SnapshotError, StorageFullError, BatchTooLargeError)
"""After any other error of a commit, only the next start knows whether it became durable."""


class Options(NamedTuple):
    """What an operator chooses.

    Attributes:
        remove_asynchronously: Remove leaves the directory to Cleanup, which containerd calls after
            each garbage collection.
        sync_contents: Commit makes the file system durable before the snapshot is committed.
    """

    remove_asynchronously: bool = False
    sync_contents: bool = False


class _ParentReplacedError(Exception):
    """Another snapshot has got the parent's name since the stage was filled."""


class _NumberTakenError(Exception):
    """Something that is not ours has the name that the directory of a new snapshot would get."""


class Snapshotter:
    """Snapshots, in a metastore and in directories; for any number of threads."""

    def __init__(
        self,
        store: MetaStore,
        directories: Directories,
        strategy: Strategy,
        options: Options = Options(),  # noqa: B008 (it is immutable)
    ) -> None:
        """Serve a store and directories that `settling.settle` has seen to."""
        self.store = store
        self._directories = directories
        self._strategy = strategy
        self._options = options

    def create(
        self, kind: Kind, key: str, parent: str, labels: Mapping[str, str]
    ) -> tuple[Mount, ...]:
        """Make an active snapshot or a view, and return its mounts.

        The stage is durable before the batch that records its name, so whatever a crash leaves, a
        snapshot has its directory.
        """
        check_size(labels)
        while True:
            parent_id = self._parent_id(parent)
            try:
                return self._create(kind, key, parent, parent_id, labels)
            except _ParentReplacedError:
                continue
            except _NumberTakenError:
                self.store.reconcile(self._directories.names, actor=ACTOR)  # beyond that number

    def _parent_id(self, parent: str) -> str | None:
        if not parent:
            return None
        with self.store.transaction() as now:
            snapshot_id, info, _ = now.get_info(parent)
        if info.kind is not Kind.COMMITTED:
            raise InvalidArgumentError(f"parent snapshot {parent!r} is {info.kind}, not committed")
        return snapshot_id

    def _create(
        self,
        kind: Kind,
        key: str,
        parent: str,
        parent_id: str | None,
        labels: Mapping[str, str],
    ) -> tuple[Mount, ...]:
        verb = "prepare" if kind is Kind.ACTIVE else "view"
        reason = audit.of_creation(verb, key, parent, labels)
        with self._directories.stage() as stage:
            try:
                filled = self._strategy.fill(self._directories.of(stage), kind, parent_id, labels)
                self._directories.sync_stage(filled)
            except BaseException:
                self._directories.discard(stage)
                raise
            try:
                with self.store.transaction(
                    writable=True, actor=audit.origin(key).actor, reason=reason, request_id=stage
                ) as transaction:
                    snapshot = transaction.create_snapshot(kind, key, parent, labels)
                    if snapshot.parent_ids[:1] != ((parent_id,) if parent_id else ()):
                        raise _ParentReplacedError
                    if self._directories.is_there(snapshot.id):
                        raise _NumberTakenError
            except (*_CHANGED_NOTHING, _ParentReplacedError, _NumberTakenError):
                self._directories.discard(stage)
                raise
            self._directories.settle(stage, snapshot.id)
        return self._strategy.mounts(snapshot)

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """Return the mounts of an active snapshot or a view."""
        with self.store.transaction() as now:
            snapshot = now.get_snapshot(key)
        return self._strategy.mounts(snapshot)

    def commit(self, key: str, name: str, labels: Mapping[str, str], parent: str = "") -> None:
        """Commit an active snapshot; one that was committed so before is left as it is.

        What it takes is measured before the transaction. If another snapshot has got the key
        meanwhile, that is measured instead.
        """
        check_size(labels)
        while True:
            with self.store.transaction() as now:
                found = _find(now, key)
            if found is None and is_repeated_commit(self.store, key, name, labels):
                return
            measured = Usage()
            if found is not None and found.kind is Kind.ACTIVE:
                measured = self._measured(found.id)
            with self.store.transaction(
                writable=True, actor=audit.origin(key).actor, reason=audit.of_commit(key, name)
            ) as transaction:
                if _find(transaction, key) == found:
                    transaction.commit_active(key, name, measured, labels, parent)
                    return

    def _measured(self, snapshot_id: str) -> Usage:
        """Return what a snapshot takes; zero if it has gone, which the transaction will find."""
        directory = self._strategy.content(snapshot_id)
        try:
            measured = usage(directory)
            if self._options.sync_contents:
                _sync_file_system(directory)
        except FileNotFoundError:
            with self.store.transaction() as now:
                if snapshot_id in now.id_map():
                    raise
            return Usage()
        return measured

    def remove(self, key: str) -> None:
        """Remove a snapshot, and then its directory, or leave that to `cleanup`.

        That a directory can't be removed is no error: the snapshot has gone.
        """
        with self.store.transaction(
            writable=True, actor=audit.origin(key).actor, reason=audit.of_removal(key)
        ) as transaction:
            snapshot_id, _ = transaction.remove(key)
        if not self._options.remove_asynchronously:
            is_removed(self._directories, snapshot_id)

    def stat(self, key: str) -> Info:
        """Return what is known of a snapshot."""
        with self.store.transaction() as now:
            return now.get_info(key)[1]

    def update(self, name: str, labels: Mapping[str, str], fieldpaths: tuple[str, ...]) -> Info:
        """Change labels and return what is known then."""
        with self.store.transaction(
            writable=True, actor=audit.origin(name).actor, reason=audit.of_update(name)
        ) as transaction:
            before = transaction.get_info(name)[1].labels
            info = transaction.update_info(name, labels, *fieldpaths)
            check_size(info.labels, before=before)
        return info

    def list(self, filters: tuple[str, ...]) -> list[Info]:
        """Return what is known of the snapshots that match any filter, as of one moment."""
        with self.store.transaction() as now:
            return list(now.walk_info(*filters))

    def usage(self, key: str) -> Usage:
        """Return what a snapshot takes: measured now if it is active, else as committed."""
        while True:
            with self.store.transaction() as now:
                snapshot_id, info, committed = now.get_info(key)
            if info.kind is not Kind.ACTIVE:
                return committed
            measured = self._measured(snapshot_id)
            with self.store.transaction() as now:
                if _find(now, key) == _Found(snapshot_id, Kind.ACTIVE):
                    return measured

    def cleanup(self) -> None:
        """Remove the directories of removed snapshots and of attempts that came to nothing.

        The directories are listed before the snapshots are looked at: whatever has an id there had
        been committed, so if it is no snapshot now, it was removed, or it is not ours.
        """
        found = self.store.reconcile(lambda: _not_kept(self._directories), actor=ACTOR)
        clear(self._directories, found, [name for name in found.unknown if name.startswith(OURS)])


def _not_kept(directories: Directories) -> list[str]:
    return [name for name in directories.names() if not directories.is_kept(name)]


class _Found(NamedTuple):
    """What has a key."""

    id: str
    kind: Kind


def _find(transaction: SnapshotTransaction, key: str) -> _Found | None:
    try:
        snapshot_id, info, _ = transaction.get_info(key)
    except NotFoundError:
        return None
    return _Found(snapshot_id, info.kind)


def _sync_file_system(path: str) -> None:
    """Make durable all of the file system that a directory is on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
    finally:
        os.close(descriptor)
