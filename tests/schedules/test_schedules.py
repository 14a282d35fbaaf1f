"""Threads of one store, whatever their schedule, see one history: that of the log.

Each run is judged by `schedules.checker`: strict serializability, and what follows from it for a
session (it reads its own writes, and never goes back). A run that fails prints how to make it
again. The usual check makes some thousand runs; the long one, `--hypothesis-profile=deep`, twenty
times as many, and more preemptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from schedules.runs import exhausted, interrupted_everywhere, swept

if TYPE_CHECKING:
    from collections.abc import Callable

    RecordProof = Callable[..., None]

SWEPT = {
    "mixed": 150,
    "snapshots": 100,
    "watching": 60,
    "holding": 80,
    "idling": 60,
    "background": 40,
    "closing": 80,
    "following": 40,
    "upkeep": 60,
    "crashing": 60,
    "power cut": 60,
    "interrupted": 120,
}
"""Workloads, and how many seeds the usual check gives them."""

EXHAUSTED = {
    "commit beside read": 1,
    "commit beside empty write": 1,
    "commit beside commit": 1,
    "commit beside rollback": 1,
    "rollback beside read": 1,
    "commit beside checkpoint": 1,
    "commit beside watch": 2,
    "commit beside past": 1,
    "group beside past": 1,
    "compaction beside past": 1,
    "look beside look": 1,
    "merge beside look": 1,
    "roll beside roll": 1,
}
"""Small workloads, and how many preemptions at operations the usual check tries."""

RUNS_MAX = 500
"""In the usual check; plans that preempt earlier come first."""

AT_LINES = {
    "commit beside read": 2000,
    "look beside look": 2000,
    "merge beside look": 500,
    "compaction beside past": 400,
}
"""Those of them whose lines the usual check preempts too, and how many runs it makes at most."""


@pytest.mark.parametrize("name", SWEPT)
def test_one_history_is_seen_under_random_schedules(
    name: str, deep: bool, record_proof: RecordProof
) -> None:
    sweep = swept(name, range(SWEPT[name] * (20 if deep else 1)))
    assert sweep.preemptions > 3 * sweep.schedules
    assert (sweep.interrupts > sweep.schedules) == (name == "interrupted")
    record_proof(f"schedules: {name}", **sweep.counts())


@pytest.mark.parametrize("name", EXHAUSTED)
def test_one_history_is_seen_under_every_schedule_with_few_preemptions(
    name: str, deep: bool, record_proof: RecordProof
) -> None:
    preemptions = EXHAUSTED[name] + deep
    sweep = exhausted(name, preemptions, lines=False, runs_max=None if deep else RUNS_MAX)
    assert sweep.schedules > 20
    record_proof(f"every schedule with {preemptions} preemptions: {name}", **sweep.counts())


def test_one_history_is_seen_wherever_one_line_is_preempted(
    deep: bool, record_proof: RecordProof
) -> None:
    for name in EXHAUSTED if deep else AT_LINES:
        sweep = exhausted(name, 1, lines=True, runs_max=None if deep else AT_LINES[name])
        assert sweep.schedules > 300
        record_proof(f"every schedule with a preemption at a line: {name}", **sweep.counts())


def test_roll_that_is_interrupted_at_any_line_leaves_a_log_that_opens(
    deep: bool, record_proof: RecordProof
) -> None:
    sweep = interrupted_everywhere("interrupted roll", 1, share=1.0 if deep else 0.1)
    assert sweep.interrupts > 200
    record_proof("schedules: interrupted roll", **sweep.counts())
