"""A driver of virtual disks: each snapshot is a qcow2 file that is backed by its parent's.

The order is that of an intent which reserves an id: it is durable before the file is made, under
its final name, and ended by the transaction that makes the snapshot. A crash in between leaves an
open intent, and the next open removes the file. It costs one more commit than a stage that is
renamed (`tools.examples.reflink`), and no rename: children find a qcow2 file by its name.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import FailedPreconditionError, Kind, MetaStore, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from projections.snapshots.intents import Intent

ACTOR = "qcow2-example"
SUFFIX = ".qcow2"


class Disks(NamedTuple):
    """An open driver.

    Attributes:
        store: the metadata.
        directory: of the files, `ID.qcow2` each.
    """

    store: MetaStore
    directory: Path

    def path(self, snapshot_id: str) -> Path:
        """Return the file of a snapshot."""
        return self.directory / f"{snapshot_id}{SUFFIX}"

    def prepare(self, key: str, parent: str = "", *, size_bytes: int = 0) -> Path:
        """Make a disk on top of a committed one, or an empty one of a size; return its file."""
        with self.store.intent("prepare", key, reserve_id=True, actor=ACTOR) as intent:
            parent_ids: tuple[str, ...] = ()
            if parent:
                with self.store.transaction() as now:
                    parent_ids = (now.get_info(parent)[0],)
            made = self.path(intent.id or "")
            self._create(made, parent_ids, size_bytes)
            with self.store.transaction(writable=True, actor=ACTOR) as tx:
                snapshot = tx.create_snapshot(Kind.ACTIVE, key, parent, intent=intent)
                if snapshot.parent_ids[:1] != parent_ids:
                    raise FailedPreconditionError(f"{parent} is another one than a moment ago")
        return made

    def _create(self, path: Path, parent_ids: tuple[str, ...], size_bytes: int) -> None:
        command: list[str | Path] = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if parent_ids:  # relative to the new file, so that all may be moved together
            command += ["-b", self.path(parent_ids[0]).name, "-F", "qcow2", path]
        else:
            command += [path, str(size_bytes)]
        subprocess.run(command, check=True)
        sync(path)
        sync(self.directory)

    def commit(self, key: str, name: str) -> None:
        """Commit a disk that nobody writes to any more; its file can't be written to then."""
        with self.store.transaction() as now:
            snapshot_id, _, _ = now.get_info(key)
        path = self.path(snapshot_id)
        sync(path)
        usage = Usage(inodes=1, size=512 * path.stat().st_blocks)
        with self.store.transaction(writable=True, actor=ACTOR) as tx:
            if tx.commit_active(key, name, usage) != snapshot_id:
                raise FailedPreconditionError(f"{key} is another one than was synced")
        path.chmod(0o400)

    def remove(self, key: str) -> None:
        """Remove a disk that no other is backed by."""
        with self.store.transaction(writable=True, actor=ACTOR) as tx:
            snapshot_id, _ = tx.remove(key)
        self.path(snapshot_id).unlink(missing_ok=True)


@contextmanager
def open_disks(root: Path) -> Iterator[Disks]:
    """Open a driver's directory, or make one; what a crash has left is undone and removed."""
    directory = root / "disks"
    directory.mkdir(parents=True, exist_ok=True)
    sync(root)

    def undo(intent: Intent) -> None:
        (directory / f"{intent.id}{SUFFIX}").unlink(missing_ok=True)

    with MetaStore.open(root / "metadata", handlers={"prepare": undo}) as store:
        disks = Disks(store, directory)
        found = store.reconcile(lambda: [path.stem for path in directory.glob(f"*{SUFFIX}")])
        for snapshot_id in found.removed:
            disks.path(snapshot_id).unlink()
        yield disks


def sync(path: Path) -> None:
    """Put a file's bytes, or a directory's names, on stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
