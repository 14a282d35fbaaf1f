"""Transactions that no caller asked for: of `reconcile`, and the ends of intents."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore import ActorRequiredError
from projections.snapshots.transaction import SnapshotWriteTransaction

if TYPE_CHECKING:
    from eventstore import EventStore, Metadata

ACTOR = "snapledger"
"""Who acts where nobody says."""


def begin_automatic(
    store: EventStore, metadata: Metadata, timeout: float | None = None
) -> SnapshotWriteTransaction:
    """Return a write transaction of whom the metadata name, else `acting_as`, else of `ACTOR`.

    So it never fails for want of an actor: a store that requires one must be able to recover.
    """
    with contextlib.suppress(ActorRequiredError):
        transaction = store.begin_write(SnapshotWriteTransaction, metadata, timeout)
        if transaction.metadata.actor:
            return transaction
    return store.begin_write(SnapshotWriteTransaction, metadata._replace(actor=ACTOR), timeout)
