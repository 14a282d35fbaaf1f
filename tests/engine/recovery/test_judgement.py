"""The judgement, case for case: the table of FORMAT.md, "Recovery"."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import pytest

from eventstore import Damage, Problem, Verdict
from eventstore.checkpoints.checkpoint import Checkpoint
from eventstore.format.segment import SegmentHeader, genesis_digest
from eventstore.log.reader import Position, ScanEnd
from eventstore.log.segments import SegmentSource
from eventstore.recovery.decide import (
    Found,
    Tail,
    contradiction,
    decide,
    detachment,
    discontinuity,
    misnamed,
    sealed_damage,
)

STORE_ID = bytes(range(16))
OTHER_ID = bytes(16)
DAMAGE = Damage("/s/wal/1.log", 512, 0, "in a sealed segment, the payload fails its checksum")
INVALID = "the payload fails its checksum"


def digest(revision: int) -> bytes:
    return hashlib.sha256(b"%d" % revision).digest()


def source(first_revision: int, *, is_archived: bool = False) -> SegmentSource:
    return SegmentSource(first_revision, f"/s/{first_revision}", is_archived)


def header(first_revision: int, store_id: bytes = STORE_ID) -> SegmentHeader:
    return SegmentHeader(store_id, first_revision, digest(first_revision - 1), 900, 1024, 0)


def tail(
    last_revision: int, problem: str | None = None, claim: int = 0, *, is_archived: bool = False
) -> Tail:
    end = ScanEnd(Position(900, last_revision, digest(last_revision), 7), problem)
    return Tail(source(1, is_archived=is_archived), header(1), end, claim)


class Case(NamedTuple):
    """One case of the table.

    Attributes:
        acknowledged: by `durable` and checkpoints.
        has_checkpoints: whether there are any.
        tail: of the log.
        damage: before it.
        verdict: expected.
        reason: a part of it, of a corrupt store.
    """

    acknowledged: int
    has_checkpoints: bool
    tail: Tail | None
    damage: Damage | None
    verdict: Verdict
    reason: str = ""


CASES = {
    "nothing at all": Case(0, False, None, None, Verdict.NEW),
    "no segment, but something was acknowledged": Case(
        5, False, None, None, Verdict.CORRUPT, "all segments"
    ),
    "no segment, but a checkpoint, valid or not": Case(
        0, True, None, None, Verdict.CORRUPT, "all segments"
    ),
    "zeros after the last valid record": Case(9, True, tail(9), None, Verdict.CLEAN),
    "nothing was acknowledged": Case(0, False, tail(0), None, Verdict.CLEAN),
    "more written than acknowledged": Case(7, True, tail(9), None, Verdict.CLEAN),
    "invalid bytes that nothing reaches": Case(9, True, tail(9, INVALID), None, Verdict.TORN_TAIL),
    "invalid bytes, a later record claims less": Case(
        0, False, tail(9, INVALID, claim=9), None, Verdict.TORN_TAIL
    ),
    "invalid bytes, a later record claims them": Case(
        0, False, tail(9, INVALID, claim=10), None, Verdict.CORRUPT, INVALID
    ),
    "invalid bytes that were acknowledged": Case(
        10, False, tail(9, INVALID), None, Verdict.CORRUPT, "revision 10 had been acknowledged"
    ),
    "the log ends before what was acknowledged": Case(
        10, True, tail(9), None, Verdict.CORRUPT, "the log ends after revision 9"
    ),
    "only the archive is left": Case(
        0, False, tail(9, is_archived=True), None, Verdict.CORRUPT, "archived part"
    ),
    "damage before the end": Case(0, False, tail(9), DAMAGE, Verdict.CORRUPT, DAMAGE.reason),
    "damage, and nothing behind it": Case(0, False, None, DAMAGE, Verdict.CORRUPT, DAMAGE.reason),
}


@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_verdict(name: str) -> None:
    case = CASES[name]
    found = Found("/s", case.acknowledged, case.has_checkpoints, case.tail, case.damage)
    decision = decide(found)
    assert decision.verdict is case.verdict
    assert (decision.problem is not None) == (case.verdict is Verdict.CORRUPT)
    assert case.reason in (decision.problem.reason if decision.problem else "")
    goes_on = case.verdict in (Verdict.CLEAN, Verdict.TORN_TAIL)
    assert (decision.end is not None) == goes_on
    if goes_on:
        assert case.tail is not None
        assert decision.end == case.tail.end.position


def checkpoint(revision: int, store_id: bytes = STORE_ID) -> Checkpoint:
    return Checkpoint(store_id, revision, 7, digest(revision), ())


def _first(store_id: bytes = STORE_ID) -> SegmentHeader:
    genesis = genesis_digest(store_id)
    return header(1, store_id)._replace(predecessor_digest=genesis)


LINKS: dict[str, tuple[Damage | None, str | None]] = {
    "name and header agree": (misnamed(source(5), header(5)), None),
    "name and header differ": (misnamed(source(5), header(6)), "first revision 6"),
    "a sealed segment ends in zeros": (sealed_damage(tail(9)), None),
    "a sealed segment ends in something else": (sealed_damage(tail(9, INVALID)), INVALID),
    "a segment goes on": (discontinuity(tail(9), source(10), header(10)), None),
    "a gap": (discontinuity(tail(9), source(12), header(12)), "ends at 9"),
    "an overlap": (discontinuity(tail(9), source(9), header(9)), "ends at 9"),
    "another store": (discontinuity(tail(9), source(10), header(10, OTHER_ID)), "another store"),
    "another digest": (
        discontinuity(tail(9), source(10), header(10)._replace(predecessor_digest=digest(1))),
        "digest chain",
    ),
    "another length": (
        discontinuity(tail(9), source(10), header(10)._replace(predecessor_bytes=899)),
        "digest chain",
    ),
    "the log starts a store": (detachment(None, source(1), _first()), None),
    "the log starts another chain": (detachment(None, source(1), header(1)), "does not start"),
    "the log starts later": (detachment(None, source(3), header(3)), "starts at revision 3"),
    "the log goes on from a checkpoint": (detachment(checkpoint(9), source(10), header(10)), None),
    "the checkpoint is in the log": (detachment(checkpoint(9), source(5), header(5)), None),
    "a gap after the checkpoint": (
        detachment(checkpoint(9), source(11), header(11)),
        "starts at revision 11",
    ),
    "a checkpoint of another history": (
        detachment(checkpoint(9), source(10), header(10)._replace(predecessor_digest=digest(1))),
        "history of the checkpoint",
    ),
    "a checkpoint of another store": (
        detachment(checkpoint(9, OTHER_ID), source(10), header(10)),
        "another store",
    ),
    "the log confirms a checkpoint": (contradiction(checkpoint(9), digest(9), "/s/1", 600), None),
    "the log contradicts a checkpoint": (
        contradiction(checkpoint(9), digest(8), "/s/1", 600),
        "another history",
    ),
}


@pytest.mark.parametrize("name", LINKS)
def test_each_link_is_judged(name: str) -> None:
    problem, reason = LINKS[name]
    assert (problem is None) == (reason is None)
    if problem is not None and reason is not None:
        assert reason in problem.reason
        assert problem.path.startswith("/s/")


def test_what_is_wrong_has_one_class_under_both_its_names() -> None:
    assert Problem is Damage
    error = Damage("/s/wal/1.log", 512, 8, "a reason").error()
    assert (error.path, error.offset_bytes, error.reason) == ("/s/wal/1.log", 512, "a reason")
