"""A driver of data sets: each snapshot is a directory whose files share blocks with its parent's.

The order is that of a stage: a clone is made under a name that is given once, and synced; the batch
that makes the snapshot records the name; after it the clone is renamed to the id. It costs no
further commit. A crash before the batch leaves a stage that is removed, one after it an intent,
whose handler renames.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import FailedPreconditionError, Kind, MetaStore, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projections.snapshots.intents import Intent

ACTOR = "reflink-example"
STAGE = "new-"


class DataSets(NamedTuple):
    """An open driver.

    Attributes:
        store: the metadata.
        directory: of the data sets, a directory `ID` each.
    """

    store: MetaStore
    directory: Path

    def prepare(self, key: str, parent: str = "") -> Path:
        """Make a data set to write to, a clone of a committed one or empty; return its directory.

        Raises:
            CalledProcessError: the file system can't share blocks.
        """
        parent_ids: tuple[str, ...] = ()
        if parent:
            with self.store.transaction() as now:
                parent_ids = (now.get_info(parent)[0],)
        with self.store.staging(STAGE) as stage:
            clone = self.directory / stage
            try:
                self._clone(clone, parent_ids)
                with self.store.transaction(writable=True, actor=ACTOR) as tx:
                    snapshot = tx.create_snapshot(Kind.ACTIVE, key, parent)
                    if snapshot.parent_ids[:1] != parent_ids:
                        raise FailedPreconditionError(f"{parent} is another one than was cloned")
                    data = {"stage": stage}
                    intent = self.store.stage(tx, "rename", key, data, id=snapshot.id)
            except Exception:
                shutil.rmtree(clone, ignore_errors=True)
                raise
        place(self.directory, intent)
        self.store.finished(intent)
        return self.directory / snapshot.id

    def _clone(self, clone: Path, parent_ids: tuple[str, ...]) -> None:
        clone.mkdir()
        for parent_id in parent_ids:
            source = f"{self.directory / parent_id}/."
            subprocess.run(["cp", "-a", "--reflink=always", source, clone], check=True)
        sync_tree(clone)

    def commit(self, key: str, name: str) -> None:
        """Commit a data set that nobody writes to any more."""
        with self.store.transaction() as now:
            snapshot_id, _, _ = now.get_info(key)
        usage = sync_tree(self.directory / snapshot_id)
        with self.store.transaction(writable=True, actor=ACTOR) as tx:
            if tx.commit_active(key, name, usage) != snapshot_id:
                raise FailedPreconditionError(f"{key} is another one than was synced")

    def remove(self, key: str) -> None:
        """Remove a data set that has no children."""
        with self.store.transaction(writable=True, actor=ACTOR) as tx:
            snapshot_id, _ = tx.remove(key)
        shutil.rmtree(self.directory / snapshot_id)


@contextmanager
def open_data_sets(root: Path) -> Iterator[DataSets]:
    """Open a driver's directory, or make one; what a crash has left is finished or removed."""
    directory = root / "data"
    directory.mkdir(parents=True, exist_ok=True)
    sync(root)

    def finish(intent: Intent) -> None:
        place(directory, intent)

    with MetaStore.open(root / "metadata", handlers={"rename": finish}) as store:
        found = store.reconcile(lambda: os.listdir(directory))
        stages = [name for name in found.unknown if name.startswith(STAGE)]
        for name in (*found.removed, *stages):
            shutil.rmtree(directory / name)
        yield DataSets(store, directory)


def place(directory: Path, intent: Intent) -> None:
    """Give a stage the name of its snapshot, durably, unless it has it."""
    stage = directory / intent.data["stage"]
    if stage.exists():
        stage.rename(directory / str(intent.id))
    sync(directory)


def sync_tree(directory: Path) -> Usage:
    """Put all that is in a directory on stable storage; return what it takes, shared or not."""
    inodes = {}
    for parent, _, names in os.walk(directory):
        for name in (".", *names):
            path = os.path.join(parent, name)
            status = os.stat(path, follow_symlinks=False)
            inodes[status.st_ino] = status.st_blocks
            if not os.path.islink(path):
                sync(path)
    return Usage(inodes=len(inodes), size=512 * sum(inodes.values()))


def sync(path: str | Path) -> None:
    """Put a file's bytes, or a directory's names, on stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
