"""Transactions that no caller asked for: of `reconcile`, and the ends of intents."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from eventstore import ActorRequiredError
from projections.snapshots.lent import LentTransaction

if TYPE_CHECKING:
    from eventstore import EventStore, Metadata

ACTOR = "snapledger"
"""Who acts where nobody says."""


class AutomaticTransaction(LentTransaction):
    """One that a full disk must not hinder: what it writes comes before space can be freed."""

    __slots__ = ()

    def _frees_space(self) -> bool:
        return True


def begin_automatic(
    store: EventStore, metadata: Metadata, timeout: float | None = None
) -> AutomaticTransaction:
    """Return a write transaction of whom the metadata name, else `acting_as`, else of `ACTOR`.

    So it never fails for want of an actor: a store that requires one must be able to recover.
    """
    with contextlib.suppress(ActorRequiredError):
        transaction = store.begin_write(AutomaticTransaction, metadata, timeout)
        if transaction.metadata.actor:
            return transaction
    return store.begin_write(AutomaticTransaction, metadata._replace(actor=ACTOR), timeout)
