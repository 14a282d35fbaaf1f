"""A bank ledger: a domain of its own, to prove that any projection can be plugged in.

Two projections fold the same events: `Ledger` keeps the accounts, `Totals` what was paid in. So
the sum of all balances equals the deposits exactly if both have folded the same batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from eventstore import Event, Projection, TableSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eventstore import ReadableTable, ReadTransaction, WritableTable, WriteTransaction

ACCOUNTS = "accounts"
TOTALS = "totals"


class Account(NamedTuple):
    """An account: who owns it, what is on it in cents, and how often it was moved."""

    owner: str
    balance: int = 0
    entries: int = 0

    def moved(self, amount: int) -> Account:
        """Return the account after one more entry."""
        return Account(self.owner, self.balance + amount, self.entries + 1)


class Ledger(Projection):
    """The accounts by name."""

    name = "ledger"
    version = 1
    tables = (TableSpec(ACCOUNTS, encode=list, decode=lambda _, plain: Account(*plain)),)

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        accounts = tables[ACCOUNTS]
        data = event.data
        match event.type:
            case "account.opened":
                accounts.put(data["account"], Account(data["owner"]))
            case "account.closed":
                accounts.delete(data["account"])
            case "money.deposited":
                accounts.put(data["account"], accounts[data["account"]].moved(data["amount"]))
            case "money.transferred":
                source, target = data["source"], data["target"]
                accounts.put(source, accounts[source].moved(-data["amount"]))
                accounts.put(target, accounts[target].moved(data["amount"]))

    def check(self, tables: Mapping[str, ReadableTable]) -> None:
        for name, account in tables[ACCOUNTS].items():
            if account.balance < 0:
                raise AssertionError(f"account {name!r} is overdrawn: {account}")


class Totals(Projection):
    """How much was paid in over all accounts, and the largest deposit."""

    name = "totals"
    version = 1
    tables = (TableSpec(TOTALS),)

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        if event.type == "money.deposited":
            totals = tables[TOTALS]
            amount = event.data["amount"]
            totals.put("deposited", totals.get("deposited", 0) + amount)
            totals.put("largest", max(totals.get("largest", 0), amount))


def open_account(tx: WriteTransaction, account: str, owner: str = "") -> None:
    """Open an account without money on it."""
    tx.emit(Event("account.opened", {"account": account, "owner": owner}))


def close_account(tx: WriteTransaction, account: str) -> None:
    """Close an account."""
    tx.emit(Event("account.closed", {"account": account}))


def deposit(tx: WriteTransaction, account: str, amount: int = 1, note: str = "") -> None:
    """Pay money in; the note makes the event as long as a test needs it."""
    tx.emit(Event("money.deposited", {"account": account, "amount": amount, "note": note}))


def transfer(tx: WriteTransaction, source: str, target: str, amount: int) -> None:
    """Move money between two accounts, if there is enough."""
    if tx.get(ACCOUNTS, source).balance < amount:
        raise ValueError(f"account {source!r} has less than {amount}")
    tx.emit(Event("money.transferred", {"source": source, "target": target, "amount": amount}))


def balances(tx: ReadTransaction | WriteTransaction) -> dict[str, int]:
    """Return what is on each account."""
    return {name: account.balance for name, account in tx.items(ACCOUNTS)}


def total(tx: ReadTransaction | WriteTransaction) -> Any:
    """Return the sum of all deposits."""
    return tx.get(TOTALS, "deposited", 0)
