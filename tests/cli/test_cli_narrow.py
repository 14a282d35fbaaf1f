"""Tables and trees on narrow terminals: keys give way, facts stay whole, the rest is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cli.test_cli_process import on_terminal

from projections.snapshots import Kind, MetaStore, Usage
from snapledger.drawing import laid_out, shortened

if TYPE_CHECKING:
    from pathlib import Path

NAME = "sha256:" + "ab" * 32
SIZE = 123_456_789


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a store of a layer with a long name, and one below it."""
    with MetaStore.open(tmp_path / "store") as opened:
        with opened.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "a")
            tx.commit_active("a", NAME, Usage(12, SIZE))
        with opened.transaction(writable=True) as tx:
            tx.create_snapshot(Kind.ACTIVE, "b", parent=NAME)
            tx.commit_active("b", NAME[:-1], Usage(12, SIZE))
    return tmp_path / "store"


def test_ls_cuts_names_and_no_fact_and_names_the_column_that_has_no_room(store: Path) -> None:
    drawn = on_terminal("ls", store, columns=40)
    table, notes = drawn.split("note: ")
    assert f"committed  {SIZE}  sha256:" in table
    assert "PARENT" not in table
    assert notes.split() == ["no", "room", "for", "PARENT", "on", "this", "terminal"]
    assert "no room" not in on_terminal("ls", store, columns=80)


def test_times_are_whole_or_not_there(store: Path) -> None:
    drawn = on_terminal("ls", store, "--columns", "name,created,updated", columns=40)
    assert "no room for UPDATED on" in drawn
    assert drawn.count("Z") == 2
    drawn = on_terminal("ls", store, "--columns", "name,created,updated", columns=80)
    assert drawn.count("Z") == 4


def test_du_keeps_the_group_and_leaves_out_what_matters_less(store: Path) -> None:
    drawn = on_terminal("du", store, "--by", "chain", columns=30)
    assert "no room for INODES" in drawn
    assert "CHAIN" in drawn
    assert str(2 * SIZE) in drawn


def test_tree_cuts_the_name_and_not_what_is_said_of_it(store: Path) -> None:
    lines = on_terminal("tree", store, columns=40).splitlines()
    assert lines[0].endswith(f"…  (id 1, {SIZE} bytes)")
    assert lines[1].endswith(f"…  (id 2, {SIZE} bytes)")
    assert max(map(len, lines)) <= 40


def test_widths_fill_the_terminal_and_never_more() -> None:
    needed = [(3, True), (71, False), (71, False), (9, True)]
    for columns in range(20, 170):
        widths = laid_out(needed, columns)
        if columns < 3 + 9 + 8 + 8 + 6:
            assert widths is None
            continue
        assert widths is not None
        assert (widths[0], widths[3]) == (3, 9)
        assert sum(widths) + 6 == min(columns, 3 + 9 + 71 + 71 + 6)
        assert abs(widths[1] - widths[2]) <= 1


def test_shortened_text_is_as_wide_as_asked_in_any_script() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 30, 12) == "a" * 11 + "…"
    assert shortened("a" * 30, 1) == "a" * 7 + "…"
    assert shortened("漢" * 20, 12) == "漢" * 5 + "…"
