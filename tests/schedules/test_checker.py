"""The checker accepts a right history, and says what is wrong with each kind of wrong one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
from schedules.checker import Checker, until
from schedules.history import Kind, Logged, Look, Operation, Outcome, Recorder
from schedules.registers import RegistersModel

if TYPE_CHECKING:
    from collections.abc import Callable

History = dict[str, Operation]


def right() -> tuple[History, list[Logged]]:
    """Return a history of two threads, by names, and its log."""
    recorder = Recorder()
    history: History = {}

    def write(name: str, base: int, value: int, outcome: Outcome = Outcome.COMMITTED) -> None:
        op = history[name] = recorder.begin(Kind.WRITE, "writer")
        op.base = base
        op.changes = [("set", "a", value)]
        op.looks = [Look(("get", "a"), base * 10 or None, 0), Look(("get", "a"), value, 1)]
        if outcome is Outcome.COMMITTED:
            op.revision = base + 1
        recorder.end(op, outcome)

    def show(
        name: str, kind: Kind, revision: int, *, asked: int | None = None, source: str | None = None
    ) -> None:
        op = history[name] = recorder.begin(kind, "reader")
        op.asked, op.source = asked, source
        if kind in (Kind.READ, Kind.FOLLOW, Kind.AT):
            op.looks = [Look(("get", "a"), revision * 10 or None, 0)]
        elif kind is Kind.BATCHES:
            op.batches = [logged(number, history) for number in range(1, revision + 1)]
        else:
            op.batches = [logged(revision, history)]
        recorder.show(op, revision)
        recorder.end(op, Outcome.SHOWN)

    def watch(name: str, asked: int | None) -> str:
        op = history[name] = recorder.begin(Kind.WATCH, "reader")
        op.asked = asked
        recorder.end(op, Outcome.SHOWN)
        return op.id

    write("first", 0, 10)
    show("read 1", Kind.READ, 1)
    coming = watch("coming", None)
    write("second", 1, 20)
    write("given up", 2, 99, Outcome.UNDONE)
    write("empty", 2, 98, Outcome.UNDONE)
    show("read 2", Kind.READ, 2)
    show("follow 2", Kind.FOLLOW, 2)
    past = watch("past", 1)
    show("watched 1", Kind.WATCHED, 1, source=past)
    show("watched 2", Kind.WATCHED, 2, source=past)
    show("came 2", Kind.WATCHED, 2, source=coming)
    write("third", 2, 30)
    show("at 1", Kind.AT, 1, asked=1)
    show("batches 3", Kind.BATCHES, 3)
    show("receipt 2", Kind.RECEIPT, 2, asked=2)
    show("read 3", Kind.READ, 3)
    show("follow 3", Kind.FOLLOW, 3)
    return history, [logged(number, history) for number in (1, 2, 3)]


def logged(revision: int, history: History) -> Logged:
    op = history[("first", "second", "third")[revision - 1]]
    return Logged(revision, op.id, tuple(op.changes))


def violations(history: History, log: list[Logged]) -> list[str]:
    return Checker(list(history.values()), log, RegistersModel()).check()


def test_right_history_is_accepted() -> None:
    assert violations(*right()) == []


def show_other(
    name: str, revision: int, value: int | None
) -> Callable[[History, list[Logged]], None]:
    def change(history: History, log: list[Logged]) -> None:
        op = history[name]
        op.revision = revision
        op.looks = [Look(("get", "a"), value, 0)]

    return change


def set_looks(name: str, *looks: Look) -> Callable[[History, list[Logged]], None]:
    def change(history: History, log: list[Logged]) -> None:
        history[name].looks = list(looks)

    return change


def set_fields(name: str, **fields: object) -> Callable[[History, list[Logged]], None]:
    def change(history: History, log: list[Logged]) -> None:
        for key, value in fields.items():
            setattr(history[name], key, value)

    return change


def lose_last(history: History, log: list[Logged]) -> None:
    log.pop()


def add_undone(history: History, log: list[Logged]) -> None:
    op = history["given up"]
    log[2:] = [Logged(3, op.id, tuple(op.changes)), log[2]._replace(revision=4)]


def repeat(history: History, log: list[Logged]) -> None:
    log.append(log[0]._replace(revision=4))


def skip(history: History, log: list[Logged]) -> None:
    log[2] = log[2]._replace(revision=4)


def change_batch(history: History, log: list[Logged]) -> None:
    log[1] = log[1]._replace(changes=(("set", "a", 21),))


def leave_out_watched(history: History, log: list[Logged]) -> None:
    history["watched 2"].revision = 3
    history["watched 2"].batches = [log[2]]


def drop_batch(history: History, log: list[Logged]) -> None:
    del history["batches 3"].batches[1]


def show_other_batch(history: History, log: list[Logged]) -> None:
    history["watched 1"].batches = [log[0]._replace(changes=(("set", "a", 11),))]


def miss_what_came(history: History, log: list[Logged]) -> None:
    history["came 2"].revision = 3
    history["came 2"].batches = [log[2]]


WRONG: dict[str, tuple[Callable[[History, list[Logged]], None], str]] = {
    "an acknowledged write is lost": (lose_last, "an acknowledged write is lost"),
    "an undone write is there": (add_undone, "of a write that was undone"),
    "a write is there twice": (repeat, "is of no write"),
    "a revision is left out": (skip, "in the place of 3"),
    "a batch holds something else": (change_batch, "does not hold what was written"),
    "acknowledged as another": (set_fields("second", revision=3), "acknowledged as another"),
    "a write builds on an old state": (set_fields("third", base=1), "does not build on"),
    "a read goes back": (show_other("read 2", 1, 10), "had been shown before"),
    "a read goes back behind batches": (show_other("read 3", 2, 20), "revision 3 had been shown"),
    "a follower goes back": (show_other("follow 3", 1, 10), "had been shown before"),
    "a follower is behind a commit": (show_other("follow 2", 1, 10), "had been shown before"),
    "a write without change goes back": (set_fields("empty", base=1), "had been shown before"),
    "a read shows another value": (set_looks("read 2", Look(("get", "a"), 10, 0)), "must be 20"),
    "a read shows an undone write": (set_looks("read 2", Look(("get", "a"), 99, 0)), "must be 20"),
    "a row is torn from its count": (set_looks("read 2", Look(("count",), 2, 0)), "must be 1"),
    "a write misses its own change": (
        set_looks("third", Look(("get", "a"), 20, 1)),
        "must be 30",
    ),
    "the past is another": (set_looks("at 1", Look(("get", "a"), 20, 0)), "must be 10"),
    "another past is shown": (show_other("at 1", 2, 20), "revision 1 was asked for"),
    "a read of what is not written yet": (show_other("read 1", 2, 20), "before it was written"),
    "a read of what never was": (show_other("read 3", 4, 30), "the log ends before"),
    "a past that was shown is refused": (
        set_fields("at 1", outcome=Outcome.REFUSED, revision=None, looks=[]),
        "was refused",
    ),
    "a receipt is refused": (
        set_fields("receipt 2", outcome=Outcome.REFUSED, revision=None, batches=[]),
        "was refused",
    ),
    "a watch leaves a batch out": (leave_out_watched, "has left batches out"),
    "a watch begins later than asked": (set_fields("past", asked=2), "a watch from 2"),
    "a watch of what comes shows the past": (
        set_fields("came 2", revision=1, batches=[]),
        "began with 1, shown before",
    ),
    "a watch of what comes misses a batch": (miss_what_came, "after 2"),
    "batches are left out": (drop_batch, "batches were left out"),
    "another batch is shown": (show_other_batch, "another in the log"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_history_is_refused_with_the_reason(name: str) -> None:
    history, log = right()
    change, words = WRONG[name]
    change(history, log)
    found = violations(history, log)
    assert any(words in violation for violation in found), found


def test_unknown_write_may_be_there_or_not() -> None:
    history, log = right()
    history["third"].outcome = Outcome.UNKNOWN
    history["third"].revision = None
    assert violations(history, log) == []
    for name in ("batches 3", "read 3", "follow 3"):
        del history[name]
    assert violations(history, log[:2]) == []


def test_history_is_cut_at_a_crash() -> None:
    history, log = right()
    third = history["third"]
    assert third.ended is not None
    operations = list(history.values())
    before = until(operations, third.begun)
    assert Checker(before, log[:2], RegistersModel()).check() == []
    assert Checker(before, log, RegistersModel()).check() == []  # on its way, it may be there
    after = until(copy.deepcopy(operations), third.ended + 1)
    assert Checker(after, log, RegistersModel()).check() == []
    [lost] = Checker(after, log[:2], RegistersModel()).check()
    assert "an acknowledged write is lost" in lost
