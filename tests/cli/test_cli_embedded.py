"""The program as a function: it leaves the process that called it as it was."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.cli import DATABASE, tell_story

from eventstore import StoreOptions
from eventstore.maintenance import checkpointing
from eventstore.recovery import loading
from projections.snapshots import Kind, MetaStore
from snapledger import output
from snapledger.program import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Told = list[tuple[str, int, int | None]]


def test_warnings_go_to_stderr_only_while_a_verb_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list(logging.getLogger().handlers)
    assert main(["ls", str(tmp_path / "nothing")]) == 10
    assert logging.getLogger().handlers == before
    capfd.readouterr()
    logging.getLogger("eventstore").warning("from elsewhere")
    assert "snapledger:" not in capfd.readouterr().err


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return what a verb shows of its progress: label, count and total."""
    told: Told = []

    @contextmanager
    def progress(label: str, total: int | None = None) -> Iterator[Callable[..., object]]:
        def show_count(count: int, total: int | None = None, now: str | None = None) -> None:
            told.append((now or label, count, total))

        yield show_count

    monkeypatch.setattr(output, "progress", progress)
    return told


def test_compact_shows_how_far_it_is_and_of_how_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Told
) -> None:
    tell_story(tmp_path / "store")
    monkeypatch.setattr(loading, "_BATCHES_BETWEEN_CALLS", 2)
    monkeypatch.setattr(checkpointing, "_ROWS_BETWEEN_TELLS", 1)
    assert main(["compact", str(tmp_path / "store")]) == 0
    opening = [(2, 5), (4, 5)]
    assert shown[:2] == [("opening the store, batch", *each) for each in opening]
    assert shown[2:] == [("writing the checkpoint, row", done, 2) for done in (1, 2)]


def test_compact_shows_each_segment(tmp_path: Path, shown: Told) -> None:
    options = StoreOptions(segment_bytes=4096, background=False)
    with MetaStore.open(tmp_path / "store", options=options) as store:
        for number in range(60):
            if number == 40:
                store.checkpoint()
            with store.transaction(writable=True) as tx:
                tx.create_snapshot(Kind.ACTIVE, f"{number}", labels={"a": "b" * 300})
    assert main(["compact", str(tmp_path / "store")]) == 0
    total = shown[-1][1]
    assert total > 2
    assert shown == [("archiving segment", done, total) for done in range(1, total + 1)]


def test_import_shows_each_snapshot(tmp_path: Path, shown: Told) -> None:
    assert main(["import-bolt", str(DATABASE), str(tmp_path / "store")]) == 0
    assert shown == [("importing snapshot", done, 20) for done in range(1, 21)]
