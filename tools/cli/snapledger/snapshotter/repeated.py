"""A Commit that comes again, since the answer to the first was lost.

containerd commits inside its own transaction. If the answer doesn't reach it, that is rolled back,
and its client calls again: for the same key, which is gone here, and for a name that has another
number if containerd gave that number away meanwhile. `NotFound` would be taken for a loss, and the
next garbage collection would delete the data. So the history is asked what became of the key.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from projections.snapshots import Kind, NotFoundError, events
from snapledger.snapshotter.audit import of_commit, origin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from projections.snapshots import MetaStore, SnapshotTransaction, SnapshotWriteTransaction


class _Earlier(NamedTuple):
    """The snapshot that a key ended in: its id, and its name."""

    snapshot_id: str
    name: str


def is_repeated_commit(
    store: MetaStore, key: str, name: str, labels: Mapping[str, str] | None
) -> bool:
    """Make good a Commit of a key that isn't there; False if none has succeeded before.

    A snapshot that was committed under the same name is left as it is. One that got a name of the
    same namespace and key, with another number, gets the new name: nobody uses the old one, since
    the transaction that made it was rolled back. If it has children, it is left alone.
    """
    earlier = _earlier_commit(store, key)
    if earlier is None:
        return False
    if earlier.name == name:
        with store.transaction() as now:
            return _holds(now, earlier)
    asked = origin(name)
    if asked.namespace is None or asked != origin(earlier.name):
        return False
    with store.transaction(
        writable=True, actor=asked.actor, reason=f"{of_commit(key, name)}, asked for again"
    ) as transaction:
        return _renamed(transaction, earlier, name, labels)


def _earlier_commit(store: MetaStore, key: str) -> _Earlier | None:
    """Return what the last commit of a key made, with the name that it has got since."""
    names: dict[str, str] = {}
    for entry in store.history(key, reverse=True):
        if entry.event.type != events.COMMITTED:
            continue
        name = names.setdefault(entry.id, entry.event.data["name"])
        if entry.event.data["key"] == key:
            return _Earlier(entry.id, name)
    return None


def _holds(now: SnapshotTransaction, earlier: _Earlier) -> bool:
    """Return whether the snapshot is still there under the name of that commit."""
    try:
        snapshot_id, info, _ = now.get_info(earlier.name)
    except NotFoundError:
        return False
    return snapshot_id == earlier.snapshot_id and info.kind is Kind.COMMITTED


def _renamed(
    transaction: SnapshotWriteTransaction,
    earlier: _Earlier,
    name: str,
    labels: Mapping[str, str] | None,
) -> bool:
    is_taken = next(transaction.walk_info(name=name), None) is not None
    if is_taken or not _holds(transaction, earlier):
        return False
    if next(transaction.walk_info(parent=earlier.name), None) is not None:
        return False
    _, info, usage = transaction.get_info(earlier.name)
    transaction.emit(
        events.committed(
            id_number=int(earlier.snapshot_id),
            key=earlier.name,
            name=name,
            parent=info.parent,
            labels=info.labels if labels is None else labels,
            usage=usage,
            time_ns=max(time.time_ns(), info.updated_ns),
        )
    )
    return True
