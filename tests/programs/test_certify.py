"""The certificate says what the proofs have counted, faults included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.certify import SUITES, Kept, render, summed

if TYPE_CHECKING:
    from collections.abc import Callable


RUN: dict[str, object] = {"commit": "abc", "quick": True, "seed": 7}


def test_counts_are_summed_and_faults_are_shown() -> None:
    records = [
        {"proof": "kills", "rounds": 3, "acknowledged_lost": 0, "phantom": 1},
        {"proof": "kills", "rounds": 1_000, "acknowledged_lost": 2, "phantom": 0},
        {"proof": "fuzz", "executions": 5},
        {"proof": "explored", "crash_points": 1, "crash_points_total": 4_000, "images": 2},
    ]
    text = render(summed(records), seed=7, commit="abc", command="the command", took_seconds=60)
    assert "| kills | 1,003 rounds | 2 | 1 | n/a |" in text
    assert "| fuzz | 5 executions | n/a | n/a | n/a |" in text
    assert "| explored | 1 of 4,000 crash points, 2 images | n/a | n/a | n/a |" in text
    assert "| mutants | not run |" in text
    assert "seed 7" in text


def test_every_test_that_records_a_proof_is_in_a_suite() -> None:
    tests = Path(__file__).parent.parent
    files = set(tests.rglob("test_*.py")) - {Path(__file__)}
    recording = [path for path in files if "record_proof(" in path.read_text()]
    assert recording
    suites = tuple(f"{tests.parent / suite}/" for suite in SUITES)
    assert [path for path in recording if not str(path).startswith(suites)] == []


def recording(count: int) -> Callable[[Path], list[str]]:
    """Return a part that records a count."""
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    record = json.dumps({"proof": "kills", "rounds": count})
    return lambda records: ["-c", code, str(records), record]


def failing(records: Path) -> list[str]:
    """Record something, and fail."""
    return ["-c", f"open({str(records)!r}, 'w').write('{{}}'); raise SystemExit(1)"]


def test_part_that_has_passed_is_kept_and_one_that_failed_is_not(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    kept = Kept(path, RUN)
    kept.pass_part("suites", recording(3))
    with pytest.raises(SystemExit, match="there is no certificate"):
        kept.pass_part("mutants", failing)
    later = Kept(path, RUN)
    later.pass_part("suites", failing)  # not run again
    later.pass_part("mutants", recording(4))
    assert [part["records"] for part in Kept(path, RUN).parts.values()] == [
        [{"proof": "kills", "rounds": 3}],
        [{"proof": "kills", "rounds": 4}],
    ]


@pytest.mark.parametrize("other", [{"commit": "abd"}, {"quick": False}, {"seed": 8}])
def test_parts_of_another_run_are_forgotten(tmp_path: Path, other: dict[str, object]) -> None:
    Kept(tmp_path / "kept", RUN).pass_part("suites", recording(3))
    assert Kept(tmp_path / "kept", {**RUN, **other}).parts == {}
