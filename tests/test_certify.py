"""The certificate says what the proofs have counted, faults included."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tools.certify import read_proofs, render

if TYPE_CHECKING:
    from pathlib import Path


def test_counts_are_summed_and_faults_are_shown(tmp_path: Path) -> None:
    proofs = tmp_path / "proofs.jsonl"
    records = [
        {"proof": "kills", "rounds": 3, "acknowledged_lost": 0, "phantom": 1},
        {"proof": "kills", "rounds": 1_000, "acknowledged_lost": 2, "phantom": 0},
        {"proof": "fuzz", "executions": 5},
        {"proof": "explored", "crash_points": 1, "crash_points_total": 4_000, "images": 2},
    ]
    proofs.write_text("".join(json.dumps(record) + "\n" for record in records))
    text = render(read_proofs(proofs), seed=7, command="the command", took_seconds=60)
    assert "| kills | 1,003 rounds | 2 | 1 | n/a |" in text
    assert "| fuzz | 5 executions | n/a | n/a | n/a |" in text
    assert "| explored | 1 of 4,000 crash points, 2 images | n/a | n/a | n/a |" in text
    assert "| mutants | not run |" in text
    assert "seed 7" in text
