"""What the tests of the snapshot metastore share."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from eventstore import StoreOptions
from projections.snapshots import Kind, MetaStore, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from projections.snapshots import Info, SnapshotTransaction

    OpenStore = Callable[..., MetaStore]
    Content = tuple[list[tuple[str, Info, Usage]], dict[str, str]]

OPTIONS = StoreOptions(segment_bytes=64 * 1024, background=False)


def content(transaction: SnapshotTransaction) -> Content:
    """Everything that can be read of the snapshots in a transaction."""
    infos = list(transaction.walk_info())
    return [transaction.get_info(info.name) for info in infos], transaction.id_map()


def content_of(store: MetaStore) -> Content:
    with store.transaction() as transaction:
        return content(transaction)


def names(transaction: SnapshotTransaction, *filters: str) -> list[str]:
    return [info.name for info in transaction.walk_info(*filters)]


def files_of(directory: Path) -> dict[str, str]:
    """Digests of all files under a directory, but for what a LOCK says of who has it when."""
    return {
        str(path.relative_to(directory)): (
            "" if path.name == "LOCK" else hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def create_committed(
    transaction: SnapshotTransaction,
    name: str,
    parent: str = "",
    labels: Mapping[str, str] | None = None,
) -> str:
    transaction.create_snapshot(Kind.ACTIVE, f"making {name}", parent)
    return transaction.commit_active(f"making {name}", name, Usage(1, 10), labels)
