"""The example ledger gives nobody more than they have, and shows its accounts in the past."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from eventstore import EventStore, StoreOptions
from tools.examples import ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS = StoreOptions(segment_bytes=64 * 1024, background=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with EventStore.open(tmp_path / "store", [ledger.Ledger()], options=OPTIONS) as opened:
        ledger.open_accounts(opened, ledger.MINT, "ann", "bob")
        yield opened


def test_nobody_spends_more_than_they_have(store: EventStore) -> None:
    ledger.transfer(store, ledger.MINT, "ann", 100, "deposit")
    with pytest.raises(ValueError, match="ann does not have 101 cents"):
        ledger.transfer(store, "ann", "bob", 101, "rent")
    with pytest.raises(ValueError, match="there is no account eve"):
        ledger.transfer(store, "ann", "eve", 1, "gift")
    ledger.open_accounts(store, "ann", "eve")
    with store.transaction() as now:
        assert dict(now.table(ledger.BALANCES).items()) == {
            "ann": 100,
            "bob": 0,
            "eve": 0,
            "mint": -100,
        }
    store.check()


def test_receipt_names_the_transfer(store: EventStore) -> None:
    receipt = ledger.transfer(store, ledger.MINT, "ann", 100, "deposit")
    assert store.check_receipt(receipt).metadata.reason == "deposit"


def test_program_shows_the_accounts_before_and_after_a_rent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger.main(str(tmp_path / "ledger"))
    printed = capsys.readouterr().out
    assert re.fullmatch(
        r"receipt [0-9a-f]{32}:4:[0-9a-f]{64}\nann: 500 → 380\nbob: 50 → 170\nmint: -550 → -550\n",
        printed,
    )
