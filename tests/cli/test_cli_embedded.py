"""The program as a function: it leaves the process that called it as it was."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from snapledger.program import main

if TYPE_CHECKING:
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
