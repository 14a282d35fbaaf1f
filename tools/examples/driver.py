"""A snapshot driver on directories. The tutorial (docs/tutorial) builds it step by step.

A snapshot is the directory ROOT/snapshots/ID; what is known of it is in the store ROOT/metadata.
To prepare one is to copy its parent's directory, by reference where the file system can do that.

One rule orders everything: *no metadata without its directory*. A directory is whole, synced and in
its place before the transaction that names it commits; it is removed only after the transaction
that forgets it has committed. So a crash leaves directories without metadata, never the reverse,
and `open_root` removes those.

    python -m tools.examples.driver ROOT prepare KEY [PARENT]
    python -m tools.examples.driver ROOT commit KEY NAME
    python -m tools.examples.driver ROOT remove KEY
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eventstore import EventStoreError
from projections.snapshots import (
    AlreadyExistsError,
    FailedPreconditionError,
    Kind,
    MetaStore,
    NotFoundError,
    SnapshotError,
    SnapshotTransaction,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eventstore import StoreOptions

ACTOR = "example-driver"
PREPARED, COMMITTED = "example/prepared-by", "example/committed-by"
"""The labels that say on behalf of which requests a snapshot was made, and committed."""


class Root(NamedTuple):
    """An open driver.

    Attributes:
        store: the metadata.
        snapshots: the directory of the snapshots' directories.
        strays: names in there that belonged to no snapshot; they were removed.
        missing: names of the snapshots whose directories are not there.
    """

    store: MetaStore
    snapshots: Path
    strays: tuple[str, ...]
    missing: tuple[str, ...]


@contextmanager
def open_root(path: Path, options: StoreOptions | None = None) -> Iterator[Root]:
    """Open a driver's directory, or make one, and remove what a crash has left."""
    snapshots = path / "snapshots"
    snapshots.mkdir(parents=True, exist_ok=True)
    sync_file(path)
    # Beside snapshots there must be a store: a new one would make strays of them all.
    is_new = not any(snapshots.iterdir())
    with MetaStore.open(path / "metadata", create=is_new, options=options) as store:
        # The store's lock is held: nobody else works on the directories either.
        yield Root(store, snapshots, *reconcile(store, snapshots))


def reconcile(store: MetaStore, snapshots: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Remove directories without metadata; return them, and the snapshots without directories.

    To be called before anything else is done with the directories.
    """
    with store.transaction() as now:
        names = now.id_map()
    found = {path.name for path in snapshots.iterdir()}
    strays = sorted(found - names.keys())
    for stray in strays:
        remove_tree(snapshots / stray)
    missing = sorted(names[snapshot_id] for snapshot_id in names.keys() - found)
    return tuple(strays), tuple(missing)


def copy_tree(source: Path, target: Path) -> None:
    """Copy what is in a directory into another one, by reference where that can be done."""
    command = ["cp", "--archive", "--reflink=auto", "--", f"{source}/.", str(target)]
    subprocess.run(command, check=True)


def sync_file(path: Path) -> None:
    """Put a file's bytes, or a directory's names, on stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Put all that is in a directory on stable storage."""
    for parent, _, names in os.walk(directory):
        for path in (Path(parent, name) for name in names):
            if stat.S_ISREG(path.lstat().st_mode):  # the directory's sync is enough for others
                sync_file(path)
        sync_file(Path(parent))


def usage_of(directory: Path) -> Usage:
    """Return what a directory takes; a file with several names counts once."""
    statuses = [path.lstat() for path in (directory, *directory.rglob("*"))]
    blocks = {status.st_ino: status.st_blocks for status in statuses}
    return Usage(inodes=len(blocks), size=512 * sum(blocks.values()))


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)


def is_done(
    transaction: SnapshotTransaction, label: str, request_id: str, asked: tuple[str, ...]
) -> bool:
    """Return whether an earlier attempt of this request did what is asked for.

    It left the label on its snapshot. What is asked for is a name, a kind and perhaps a parent.

    Raises:
        AlreadyExistsError: it did something else, or another request went on from there.
    """
    for info in transaction.walk_info(labels={label: request_id}):
        if (info.name, info.kind, info.parent)[: len(asked)] != asked:
            raise AlreadyExistsError(
                f"request {request_id!r} has made what is now the {info.kind} snapshot "
                f"{info.name!r} with parent {info.parent!r}"
            )
        return True
    return False


def prepare(
    root: Root, key: str, parent: str = "", *, request_id: str, kind: Kind = Kind.ACTIVE
) -> Path:
    """Make a snapshot on top of a committed one, and return its directory.

    Raises:
        AlreadyExistsError: another request has the key; or this one has made a snapshot that
            differs from what is asked for, or was committed since.
        NotFoundError: there is no such parent.
        InvalidArgumentError: the parent is not committed.
    """
    asked = (key, kind, parent)
    with root.store.transaction() as now:
        if is_done(now, PREPARED, request_id, asked):
            return root.snapshots / now.get_info(key)[0]
        parent_ids = (now.get_info(parent)[0],) if parent else ()

    # What takes long is done before the transaction, under a name that is nobody's.
    new = Path(tempfile.mkdtemp(prefix="new-", dir=root.snapshots))
    try:
        for parent_id in parent_ids:
            try:
                copy_tree(root.snapshots / parent_id, new)
            except subprocess.CalledProcessError:
                with root.store.transaction() as now:
                    now.get_info(parent)  # raises if somebody has removed it meanwhile
                raise
        sync_tree(new)

        with root.store.transaction(
            writable=True, actor=ACTOR, reason=f"prepare {key}", request_id=request_id
        ) as transaction:
            if is_done(transaction, PREPARED, request_id, asked):
                return root.snapshots / transaction.get_info(key)[0]
            labels = {PREPARED: request_id}
            snapshot = transaction.create_snapshot(kind, key, parent, labels)
            if snapshot.parent_ids[:1] != parent_ids:
                raise FailedPreconditionError(f"{parent} is not the snapshot that was copied")
            directory = root.snapshots / snapshot.id
            remove_tree(directory)  # an earlier transaction had this id, and did not commit
            new.rename(directory)
            sync_file(root.snapshots)
        return directory
    finally:
        remove_tree(new)


def commit(root: Root, key: str, name: str, *, request_id: str) -> None:
    """Commit an active snapshot, whose directory nobody writes to any more, under a name.

    Raises:
        AlreadyExistsError: another request has the name; or this one has committed another.
        NotFoundError: no snapshot has the key.
        FailedPreconditionError: the snapshot is not active.
    """
    asked = (name, Kind.COMMITTED)
    with root.store.transaction() as now:
        if is_done(now, COMMITTED, request_id, asked):
            return
        snapshot_id, _, _ = now.get_info(key)

    directory = root.snapshots / snapshot_id
    sync_tree(directory)
    usage = usage_of(directory)

    with root.store.transaction(
        writable=True, actor=ACTOR, reason=f"commit {key}", request_id=request_id
    ) as transaction:
        if is_done(transaction, COMMITTED, request_id, asked):
            return
        _, info, _ = transaction.get_info(key)
        labels = {**info.labels, COMMITTED: request_id}
        if transaction.commit_active(key, name, usage, labels) != snapshot_id:
            raise FailedPreconditionError(f"{key} is not the snapshot that was synced")


def remove(root: Root, key: str, *, request_id: str) -> None:
    """Remove a snapshot that has no children; one that is not there was removed earlier.

    Raises:
        FailedPreconditionError: it has children.
    """
    with root.store.transaction(
        writable=True, actor=ACTOR, reason=f"remove {key}", request_id=request_id
    ) as transaction:
        try:
            snapshot_id, _ = transaction.remove(key)
        except NotFoundError:
            return
    remove_tree(root.snapshots / snapshot_id)


def main() -> None:
    """Make one call, as a driver's server would for a request."""
    parser = argparse.ArgumentParser(prog="driver")
    parser.add_argument("root", type=Path)
    parser.add_argument("verb", choices=["prepare", "commit", "remove"])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--request-id", default=str(uuid.uuid4()))
    arguments = parser.parse_args()
    try:
        with open_root(arguments.root) as root:
            match arguments.verb, arguments.names:
                case "prepare", [key] | [key, _] as names:
                    print(prepare(root, *names, request_id=arguments.request_id))
                case "commit", [key, name]:
                    commit(root, key, name, request_id=arguments.request_id)
                case "remove", [key]:
                    remove(root, key, request_id=arguments.request_id)
                case _:
                    parser.error(f"{arguments.verb} takes other names")
    except (EventStoreError, SnapshotError) as error:
        sys.exit(f"driver: {error}")


if __name__ == "__main__":
    main()
