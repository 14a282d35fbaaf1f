"""Tables that are asked for by their specifications, and have its types."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from eventstore import Event, EventStore, Projection, ProjectionError, TableSpec
from eventstore.testing import SimulatedFileSystem, check_fold, watched

if TYPE_CHECKING:
    from pathlib import Path

    from eventstore import ReadableTables, WritableTables

BALANCES = TableSpec[str, int]("balances")

WRONG = """
from eventstore import Event, Projection, ReadTransaction, TableSpec, WritableTables

BALANCES = TableSpec[str, int]("balances")


class Ledger(Projection):
    name, version, tables = "ledger", 1, (BALANCES, TableSpec("of anything"))

    def apply(self, event: Event, tables: WritableTables) -> None:
        tables["of anything"].put(1, ("a", 2))
        tables[BALANCES].put("ann", 1)
        tables[BALANCES].put(1, 1)
        tables[BALANCES].put("ann", "much")
        balance: str = tables[BALANCES]["ann"]


def total(transaction: ReadTransaction) -> int:
    return sum(name for name, _ in transaction.table(BALANCES).items())
"""


class Ledger(Projection):
    name, version, tables = "ledger", 1, (BALANCES,)

    def apply(self, event: Event, tables: WritableTables) -> None:
        balances = tables[BALANCES]
        balances.put(event.data, balances.get(event.data, 0) + 1)
        assert tables["balances"].get(event.data) == balances[event.data]

    def check(self, tables: ReadableTables) -> None:
        assert all(balance > 0 for _, balance in tables[BALANCES].items())


def test_a_table_is_the_same_by_its_name_and_by_its_specification() -> None:
    projections = watched([Ledger()])
    with EventStore.open("/store", projections, file_system=SimulatedFileSystem()) as store:
        with store.transaction(writable=True) as writer:
            writer.emit(Event("paid", "ann"))
            assert dict(writer.table(BALANCES).items()) == {"ann": 1}
        with store.transaction() as reader:
            assert reader.table(BALANCES).get("ann") == reader.table("balances").get("ann") == 1
            assert "ann" in reader.table(BALANCES)
            with pytest.raises(ProjectionError, match="no table 'other' in this store"):
                reader.table(TableSpec[str, int]("other"))
        store.check()
        check_fold(store, [Ledger()])


def test_type_checkers_find_a_key_and_a_value_of_a_wrong_type(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    lines = sorted({int(line.split(":")[1]) for line in found.splitlines() if ": error:" in line})
    first = WRONG[: WRONG.index("        tables[BALANCES].put(1, 1)")].count("\n") + 1
    last = WRONG[: WRONG.index("    return sum")].count("\n") + 1
    assert lines == [first, first + 1, first + 2, last], found
