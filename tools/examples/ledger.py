"""A projection of one's own: the accounts of a bank. `docs/` shows it, without types.

`python -m tools.examples.ledger STORE` pays a rent, and shows the accounts before and after it.
"""

from __future__ import annotations

import sys

from eventstore import (
    Event,
    EventStore,
    Projection,
    ReadableTables,
    Receipt,
    TableSpec,
    WritableTables,
)

BALANCES = TableSpec[str, int]("balances")
MINT = "mint"
"""The account that money comes from: it alone may be below zero."""


class Ledger(Projection):
    """What is on each account, in cents."""

    name = "ledger"
    version = 1
    tables = (BALANCES,)

    def apply(self, event: Event, tables: WritableTables) -> None:
        """Fold one event: no clock, no randomness, no I/O."""
        balances = tables[BALANCES]
        match event.type:
            case "opened":
                balances.put(event.data["account"], 0)
            case "moved":
                for account, sign in ((event.data["from"], -1), (event.data["to"], 1)):
                    balances.put(account, balances[account] + sign * event.data["cents"])

    def check(self, tables: ReadableTables) -> None:
        """Check that no money was made or lost."""
        total = sum(cents for _, cents in tables[BALANCES].items())
        if total != 0:
            raise AssertionError(f"the accounts sum up to {total} cents")


def open_accounts(store: EventStore, *accounts: str) -> None:
    """Open the accounts that are not open yet."""
    with store.transaction(writable=True, actor="teller", reason="new accounts") as transaction:
        balances = transaction.table(BALANCES)
        for account in accounts:
            if account not in balances:
                transaction.emit(Event("opened", {"account": account}))


def transfer(store: EventStore, source: str, target: str, cents: int, reason: str) -> Receipt:
    """Move money between two accounts.

    Raises:
        ValueError: an account is not open, or there is not enough on the source.
    """
    with store.transaction(writable=True, actor="teller", reason=reason) as transaction:
        balances = transaction.table(BALANCES)
        for account in (source, target):
            if account not in balances:
                raise ValueError(f"there is no account {account}")
        if source != MINT and balances[source] < cents:
            raise ValueError(f"{source} does not have {cents} cents")
        transaction.emit(Event("moved", {"from": source, "to": target, "cents": cents}))
    receipt = transaction.receipt
    if receipt is None:
        raise AssertionError("a batch was committed")
    return receipt


def main(path: str) -> None:
    """Pay a rent, and look at the accounts before and after it."""
    with EventStore.open(path, [Ledger()]) as store:
        open_accounts(store, MINT, "ann", "bob")
        transfer(store, MINT, "ann", 500, "opening deposit")
        before = transfer(store, MINT, "bob", 50, "opening deposit").revision
        print("receipt", transfer(store, "ann", "bob", 120, "rent"))
        with store.at(before) as past, store.transaction() as now:
            for account, cents in now.table(BALANCES).items():
                print(f"{account}: {past.table(BALANCES)[account]} → {cents}")
        store.check()


if __name__ == "__main__":
    main(*sys.argv[1:])
