"""The metadata store that snapshot drivers embed: containerd's snapshot storage, with history.

`MetaStore` keeps names, states, parentage, labels and usage of snapshots in an event store, so
that every change stays known: who made it, when and why. `projections.snapshots.storage` has
containerd's functions on the current transaction.
"""

from typing import TYPE_CHECKING

from projections.snapshots.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    NoTransactionError,
    SnapshotError,
)
from projections.snapshots.history import Change, HistoryEntry, SnapshotDiff
from projections.snapshots.intents import Intent
from projections.snapshots.metastore import MetaStore
from projections.snapshots.model import Info, Kind, Snapshot, Usage
from projections.snapshots.operations import SnapshotTransaction
from projections.snapshots.projection import SnapshotsProjection
from projections.snapshots.reconcile import Reconciliation, Removal
from projections.snapshots.requests import Request, RequestWindow
from projections.snapshots.transaction import SnapshotReadTransaction, SnapshotWriteTransaction
from projections.snapshots.work import Conclusion, Handler

if TYPE_CHECKING:
    from projections.snapshots.asynchronous import AsyncMetaStore
    from projections.snapshots.filters import parse_filters, quote_filter
else:

    def __getattr__(name: str) -> object:
        """Return a public name whose module is imported when it is asked for: it costs time."""
        if name == "AsyncMetaStore":
            from projections.snapshots import asynchronous as module  # noqa: PLC0415
        elif name in ("parse_filters", "quote_filter"):
            from projections.snapshots import filters as module  # noqa: PLC0415
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(module, name)
        return value


__all__ = [
    "AlreadyExistsError",
    "AsyncMetaStore",
    "Change",
    "Conclusion",
    "FailedPreconditionError",
    "Handler",
    "HistoryEntry",
    "Info",
    "Intent",
    "InvalidArgumentError",
    "Kind",
    "MetaStore",
    "NoTransactionError",
    "NotFoundError",
    "Reconciliation",
    "Removal",
    "Request",
    "RequestWindow",
    "Snapshot",
    "SnapshotDiff",
    "SnapshotError",
    "SnapshotReadTransaction",
    "SnapshotTransaction",
    "SnapshotWriteTransaction",
    "SnapshotsProjection",
    "Usage",
    "parse_filters",
    "quote_filter",
]
