"""A root of containerd's overlay snapshotter becomes ours, and back.

The directories stay as they are, under the same ids. To take over, `metadata.db` is imported and
then removed, a copy of it kept, so that containerd can't go on from an old state by mistake; to
give back, one is written, and our store is renamed. Between the two steps both are there, say the
same, and neither is used. Whatever cuts a command short, either one may be called after it, and
goes on from there.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from eventstore import NotAStoreError
from projections.snapshots import AlreadyExistsError, FailedPreconditionError, MetaStore
from projections.snapshots.boltfile import BoltFormatError
from projections.snapshots.containerd_db import read_snapshots
from projections.snapshots.containerd_writer import write_snapshots
from projections.snapshots.exporter import containerd_bytes
from projections.snapshots.importer import import_read, read_still
from snapledger.snapshotter.alone import alone
from snapledger.snapshotter.directories import Directories, sync
from snapledger.snapshotter.place import LOCK, PlaceError, checked_root, held
from snapledger.snapshotter.recorded import (
    RECORD,
    check_strategy,
    record_strategy,
    recorded_strategy,
    require_strategy,
)
from snapledger.snapshotter.replacing import clear_leftovers, free, kept_copy, write_new
from snapledger.snapshotter.settling import settle
from snapledger.snapshotter.strategy import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from projections.snapshots.operations import SnapshotTransaction

METADATA = "metadata"
SNAPSHOTS = "snapshots"
DATABASE = "metadata.db"

_ACTOR = "take-over"
_STRATEGY = "overlay"
_SHOWN_DIGITS = 12
_MODE = 0o600
"""Of each metadata.db, as containerd's own."""


class Moved(NamedTuple):
    """What became of a root.

    Attributes:
        snapshot_count: how many snapshots it has.
        kept: where the metadata is that is not used any more.
    """

    snapshot_count: int
    kept: str


def refuse_foreign(root: str) -> None:
    """Refuse a root that containerd's own snapshotter would use too.

    Raises:
        PlaceError: there is a metadata.db.
    """
    if not os.path.lexists(f"{root}/{DATABASE}"):
        return
    if os.path.lexists(f"{root}/{METADATA}"):
        raise PlaceError(
            f"{root}: it has both {DATABASE} and {METADATA}: `snapledger-snapshotter take-over` "
            "ends a take-over or give-back that was cut short, or says which one to move away"
        )
    raise PlaceError(
        f"{root}: it has a {DATABASE}, so it is of containerd's own snapshotter: "
        "`snapledger-snapshotter take-over` makes it ours"
    )


def take_over(path: str) -> Moved | None:
    """Make a root ours that is of containerd's overlay snapshotter.

    Returns:
        None if it is ours already: nothing was done.

    Raises:
        PlaceError: the root can't be used, a driver has it, it has no metadata.db, or it is kept
            with another strategy.
        FailedPreconditionError: containerd has the database open, or we have another store there.
        InvalidArgumentError: the database is damaged.
        EventStoreError: the store can't be made.
    """
    with _held(path) as root:
        database, store = f"{root}/{DATABASE}", f"{root}/{METADATA}"
        if not os.path.lexists(database):
            if _is_store(store):
                return None
            raise PlaceError(f"{database}: there is none, so there is nothing to take over")
        with alone(database) as held_database:
            data = read_still(held_database.file, database)
            require_strategy(root, _STRATEGY, _ids(data), f"{root}/{SNAPSHOTS}")
            count = _imported(database, data, store, held_database.require)
            if recorded_strategy(root) is None:
                record_strategy(root, _STRATEGY)
            digits = hashlib.sha256(data).hexdigest()[:_SHOWN_DIGITS]
            kept = kept_copy(f"{database}.taken-over-{digits}", data, _MODE, database)
            held_database.remove()
    return Moved(count, kept)


@contextmanager
def _held(path: str) -> Iterator[str]:
    """Hold a root that is there, cleared of what was cut short; where is none, none is made.

    Raises:
        PlaceError: there is none, it can't be used, or a driver has it.
    """
    root = os.path.abspath(path)
    if not any(os.path.lexists(f"{root}/{name}") for name in (DATABASE, METADATA)):
        raise PlaceError(
            f"{root}: neither {DATABASE} nor {METADATA} is there, so there is nothing to take over "
            "or give back: check --root"
        )
    checked_root(root)
    with held(f"{root}/{LOCK}", root):
        for name in (DATABASE, RECORD):
            clear_leftovers(f"{root}/{name}")
        yield root


def _imported(database: str, data: bytes, path: str, require_alone: Callable[[], object]) -> int:
    """Make a store of a database, or find it made, and return how many snapshots it has.

    What an import that was cut short has left is no store, and is imported over.
    """
    try:
        return import_read(
            data, database, path, actor=_ACTOR, before_end=require_alone
        ).snapshot_count
    except AlreadyExistsError:
        with MetaStore.open(path, create=False) as store, store.transaction() as now:
            _require_same(now, path, database, data)
            return len(now.id_map())


def _ids(data: bytes) -> list[str]:
    """Return the ids in a database; none of a damaged one, which the import tells."""
    try:
        return [str(snapshot.id) for snapshot in read_snapshots(data).snapshots]
    except BoltFormatError:
        return []


def _is_store(path: str) -> bool:
    """Return whether a store is there, and its making was not cut short."""
    try:
        MetaStore.open(path, create=False).close()
    except NotAStoreError:
        return False
    return True


def _require_same(now: SnapshotTransaction, store: str, database: str, data: bytes) -> None:
    """Refuse a store and a database, both there, of which one has been changed since.

    Raises:
        FailedPreconditionError: they don't say the same.
    """
    try:
        is_same = write_snapshots(read_snapshots(data)) == containerd_bytes(now)
    except BoltFormatError:
        is_same = False
    if not is_same:
        raise FailedPreconditionError(
            f"{store}: a store is there beside {DATABASE}, and they don't say the same: move "
            f"{store} away if what containerd has done counts, else {database}; then do it again"
        )


def give_back(path: str) -> Moved | None:
    """Make a root of ours one of containerd's overlay snapshotter.

    Returns:
        None if it is containerd's already: nothing was done.

    Raises:
        PlaceError: the root can't be used, a driver has it, or it is kept with another strategy.
        FailedPreconditionError: there is another metadata.db, a take-over was cut short, or a
            directory can't get its name.
        EventStoreError: there is no store, or it can't be opened.
    """
    with _held(path) as root:
        database, metadata = f"{root}/{DATABASE}", f"{root}/{METADATA}"
        if os.path.lexists(database) and not os.path.lexists(metadata):
            return None
        with _to_give_back(metadata, database) as store:
            check_strategy(root, _STRATEGY, store, f"{root}/{SNAPSHOTS}")
            if os.path.lexists(database):
                with open(database, "rb") as file, store.transaction() as now:
                    _require_same(now, metadata, database, file.read())
            else:
                _settle(store, root)
            with store.transaction() as now:
                kept = free(f"{metadata}.given-back-{now.revision}")
                if not os.path.lexists(database):
                    write_new(database, containerd_bytes(now), _MODE, database)
                count = len(now.id_map())
        os.rename(metadata, kept)
        sync(root)
    return Moved(count, kept)


def _to_give_back(path: str, database: str) -> MetaStore:
    try:
        return MetaStore.open(path, create=False)
    except NotAStoreError:
        if not os.path.lexists(database):
            raise
        raise FailedPreconditionError(
            f"{path}: a take-over was cut short there, so all is containerd's still, in "
            f"{DATABASE}, and nothing is to be given back: remove {path}, or call take-over again"
        ) from None


def _settle(store: MetaStore, root: str) -> None:
    directories = Directories(f"{root}/{SNAPSHOTS}")
    settled = settle(store, directories, STRATEGIES[_STRATEGY](directories.path))
    if settled.unnamed:  # containerd knows no stages, and would remove them
        raise FailedPreconditionError(
            f"{directories.path}: {', '.join(settled.unnamed)} can't get the names of their "
            "snapshots; the log says why"
        )
    sync(directories.path)
