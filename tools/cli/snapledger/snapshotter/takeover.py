"""A root of containerd's overlay snapshotter becomes ours, and back.

The directories stay as they are, under the same ids. To take over, `metadata.db` is imported and
then renamed, so that containerd can't go on from an old state by mistake; to give back, one is
written, and our store is renamed. Between the two steps both are there, and neither is used:
whoever was interrupted calls again.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import FailedPreconditionError, MetaStore
from projections.snapshots.exporter import containerd_bytes, export_containerd
from projections.snapshots.importer import import_containerd
from snapledger.snapshotter.directories import Directories, sync
from snapledger.snapshotter.place import LOCK, PlaceError, checked_root, held
from snapledger.snapshotter.settling import settle
from snapledger.snapshotter.strategy import STRATEGIES

if TYPE_CHECKING:
    from collections.abc import Iterator

METADATA = "metadata"
SNAPSHOTS = "snapshots"
DATABASE = "metadata.db"

_ACTOR = "take-over"
_SHOWN_DIGITS = 12


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
    if os.path.lexists(f"{root}/{DATABASE}"):
        raise PlaceError(
            f"{root}: it has a {DATABASE}, so it is of containerd's own snapshotter: "
            "`snapledger-snapshotter take-over` makes it ours"
        )


def take_over(path: str) -> Moved:
    """Make a root ours that is of containerd's overlay snapshotter.

    Raises:
        PlaceError: the root can't be used, a driver has it, or it has no metadata.db.
        FailedPreconditionError: containerd has the database open, or we have another store there.
        InvalidArgumentError: the database is damaged.
        EventStoreError: the store can't be made.
    """
    root = checked_root(path)
    database, store = f"{root}/{DATABASE}", f"{root}/{METADATA}"
    with held(f"{root}/{LOCK}", root), _still(database) as sha256:
        if os.path.lexists(store):
            count = _imported_before(store, sha256)
        else:
            count = import_containerd(database, store, actor=_ACTOR).snapshot_count
        kept = f"{database}.taken-over-{sha256[:_SHOWN_DIGITS]}"
        os.rename(database, kept)
        sync(root)
    return Moved(count, kept)


@contextmanager
def _still(database: str) -> Iterator[str]:
    """Keep containerd from opening a database, and give its SHA-256.

    bbolt's writer holds the file exclusively while it has it open; a shared hold keeps it out.
    """
    try:
        file = open(database, "rb")  # noqa: SIM115 - closed below, with what is held by it
    except FileNotFoundError:
        raise PlaceError(f"{database}: there is none, so there is nothing to take over") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FailedPreconditionError(
                f"{database}: containerd has it open: stop containerd first"
            ) from None
        yield hashlib.file_digest(file, "sha256").hexdigest()


def _imported_before(path: str, sha256: str) -> int:
    """Return how many snapshots a store has that was made of this very database."""
    with MetaStore.open(path, create=False) as store:
        first = next(iter(store.event_store.batches()), None)
        if first is None or sha256 not in (first.metadata.reason or ""):
            raise FailedPreconditionError(
                f"{path}: a store that was not made of this {DATABASE}: move one of them away"
            )
        with store.transaction() as now:
            return len(now.id_map())


def give_back(path: str) -> Moved:
    """Make a root of ours one of containerd's overlay snapshotter.

    Raises:
        PlaceError: the root can't be used, or a driver has it.
        FailedPreconditionError: there is another metadata.db.
        EventStoreError: there is no store, or it can't be opened.
    """
    root = checked_root(path)
    database = f"{root}/{DATABASE}"
    with held(f"{root}/{LOCK}", root):
        with MetaStore.open(f"{root}/{METADATA}", create=False) as store:
            is_written = os.path.lexists(database)
            if is_written:
                with store.transaction() as now:
                    _check_same(database, containerd_bytes(now))
            else:
                _settle(store, root)
            with store.transaction() as now:
                kept = _free(f"{root}/{METADATA}.given-back-{now.revision}")
                if not is_written:
                    export_containerd(now, database)
                count = len(now.id_map())
        os.rename(f"{root}/{METADATA}", kept)
        sync(root)
    return Moved(count, kept)


def _free(path: str) -> str:
    """Return the path, or the first of `PATH-2`, `PATH-3` and so on where nothing is."""
    candidates = itertools.chain([path], (f"{path}-{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if not os.path.lexists(candidate))


def _settle(store: MetaStore, root: str) -> None:
    directories = Directories(f"{root}/{SNAPSHOTS}")
    settle(store, directories, STRATEGIES["overlay"](directories.path))
    sync(directories.path)


def _check_same(database: str, expected: bytes) -> None:
    with open(database, "rb") as file:
        if file.read() != expected:
            raise FailedPreconditionError(
                f"{database}: there is one already, and it is not of this store's state"
            )
