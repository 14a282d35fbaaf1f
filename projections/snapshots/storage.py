"""containerd's `storage` functions: each works on the current transaction.

`MetaStore.transaction_context` makes a transaction the current one. Outside of one, every
function raises `NoTransactionError`. Arguments, results and errors are those of the methods of
the same names on `SnapshotTransaction`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from projections.snapshots.current import current_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from projections.snapshots.model import Info, Kind, Snapshot, Usage


def create_snapshot(
    kind: Kind, key: str, parent: str = "", labels: Mapping[str, str] | None = None
) -> Snapshot:
    """Create an active snapshot or a view."""
    return current_transaction().create_snapshot(kind, key, parent, labels)


def get_snapshot(key: str) -> Snapshot:
    """Return an active snapshot or view with the ids of all its ancestors."""
    return current_transaction().get_snapshot(key)


def get_info(key: str) -> tuple[str, Info, Usage]:
    """Return id, info and usage of a snapshot."""
    return current_transaction().get_info(key)


def update_info(name: str, labels: Mapping[str, str] | None, *fieldpaths: str) -> Info:
    """Change the labels of a snapshot."""
    return current_transaction().update_info(name, labels, *fieldpaths)


def walk_info(
    fn: Callable[[Info], object],
    *filters: str,
    name: str | None = None,
    parent: str | None = None,
    kind: Kind | str | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Call a function with the info of every snapshot that a walk yields, in key order.

    An exception that it raises ends the walk.
    """
    walk = current_transaction().walk_info(
        *filters, name=name, parent=parent, kind=kind, labels=labels
    )
    for info in walk:
        fn(info)


def remove(key: str) -> tuple[str, Kind]:
    """Remove a snapshot and return its id and kind."""
    return current_transaction().remove(key)


def commit_active(
    key: str,
    name: str,
    usage: Usage,
    labels: Mapping[str, str] | None = None,
    parent: str = "",
) -> str:
    """Commit an active snapshot under a name and return its id."""
    return current_transaction().commit_active(key, name, usage, labels, parent)


def id_map() -> dict[str, str]:
    """Return the key or name of every snapshot by its id."""
    return current_transaction().id_map()
