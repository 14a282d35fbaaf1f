"""The list of tables at the head of a checkpoint is read as it was written, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore.checkpoints.reader import TableName, unpack_table_names
from eventstore.format.codec import DecodeError, pack


def test_a_table_list_reads_back() -> None:
    names = (TableName("ledger", 1, "accounts"), TableName("totals", 2, "sums"))
    assert unpack_table_names(pack([list(name) for name in names])) == names
    assert unpack_table_names(pack([])) == ()


@pytest.mark.parametrize(
    "listed",
    [
        [["ledger", 1, 5]],
        [["ledger", "1", "accounts"]],
        [["ledger", 1.0, "accounts"]],
        [["ledger", True, "accounts"]],
        [[None, 1, "accounts"]],
        [["ledger", 1, "accounts"], ["ledger", 1, ["sums"]]],
    ],
    ids=repr,
)
def test_a_table_list_that_names_what_is_no_table_is_refused(listed: Any) -> None:
    with pytest.raises(DecodeError, match="names what is no table"):
        unpack_table_names(pack(listed))


def test_a_table_list_that_names_a_table_twice_is_refused() -> None:
    with pytest.raises(DecodeError, match="names a table twice"):
        unpack_table_names(pack([["ledger", 1, "accounts"], ["totals", 1, "accounts"]]))


@pytest.mark.parametrize("listed", [5, {"a": 1}, [5], [["ledger", 1]]], ids=repr)
def test_what_is_no_list_of_names_is_refused(listed: Any) -> None:
    with pytest.raises(DecodeError, match="can't be read"):
        unpack_table_names(pack(listed))
