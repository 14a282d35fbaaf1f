"""The tables of the reference name what the library has: keys of `stats()`, loggers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.documentation import ROOT
from support.engine import SMALL
from support.ledger import Ledger

from eventstore import EventStore

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = ROOT / "docs" / "reference"


def first_column(text: str) -> list[str]:
    """Return the names in code that begin the rows of a page's tables."""
    return re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)


def test_the_page_of_stats_has_each_key_of_a_follower_and_of_a_writer(tmp_path: Path) -> None:
    of_every_handle, of_a_writer = (REFERENCE / "stats.md").read_text().split("## Of a writer")
    path = tmp_path / "store"
    with (
        EventStore.open(path, [Ledger()], options=SMALL) as writer,
        EventStore.open(path, [Ledger()], read_only=True) as follower,
    ):
        assert sorted(first_column(of_every_handle)) == sorted(follower.stats())
        assert sorted(first_column(of_every_handle + of_a_writer)) == sorted(writer.stats())


def test_the_page_of_loggers_has_each_name_that_the_library_logs_under() -> None:
    named = set()
    for folder in ("eventstore", "projections"):
        for module in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r"getLogger\((.*?)\)", module.read_text()))
    stated = first_column((REFERENCE / "loggers.md").read_text())
    assert {f'"{name}"' for name in stated} == named
