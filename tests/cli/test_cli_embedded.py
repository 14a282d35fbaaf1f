"""The program as a function: it leaves the process that called it as it was."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.cli import tell_story

from eventstore.recovery import loading
from snapledger import output
from snapledger.program import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest


def test_warnings_go_to_stderr_only_while_a_verb_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = list(logging.getLogger().handlers)
    assert main(["ls", str(tmp_path / "nothing")]) == 10
    assert logging.getLogger().handlers == before
    capfd.readouterr()
    logging.getLogger("eventstore").warning("from elsewhere")
    assert "snapledger:" not in capfd.readouterr().err


def test_compact_shows_how_far_the_batches_are_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    @contextmanager
    def progress(label: str) -> Iterator[Callable[[int], object]]:
        assert label == "compacting"
        yield counts.append

    tell_story(tmp_path / "store")
    monkeypatch.setattr(output, "progress", progress)
    monkeypatch.setattr(loading, "_BATCHES_BETWEEN_CALLS", 2)
    assert main(["compact", str(tmp_path / "store")]) == 0
    assert counts == [2, 4]
