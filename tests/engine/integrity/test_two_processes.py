"""A verification by two processes reports what one by one process does, or fails."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.engine import SMALL, add, archived, flip, open_store, segments
from support.ledger import TOTALS, Ledger, Totals

from eventstore import EventStore, VerifyReport, verify_store
from eventstore.integrity import later
from eventstore.integrity.comparison import Comparison
from eventstore.integrity.later import LaterFold, LaterResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from eventstore import Event, WritableTable

KNOWN = [Ledger(), Totals()]


class Wrong(Totals):
    """What a release did whose totals were wrong."""

    def apply(self, event: Event, tables: Mapping[str, WritableTable]) -> None:
        Totals.apply(self, event, tables)
        tables[TOTALS].put("largest", 7)


class Dissatisfied(Totals):
    """Finds its tables wrong."""

    def check(self, tables: Mapping[str, Any]) -> None:
        raise AssertionError(f"{tables[TOTALS].get('deposited')} is too much")


@pytest.fixture(autouse=True)
def short_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a log of some dozens of batches be long enough for two."""
    monkeypatch.setattr(later, "BATCHES_MIN", 10)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[LaterFold]:
    """Collect the processes that are started."""
    found: list[LaterFold] = []
    begin = LaterFold.__init__

    def begin_seen(self: LaterFold, part: later.LaterPart) -> None:
        begin(self, part)
        found.append(self)

    monkeypatch.setattr(LaterFold, "__init__", begin_seen)
    return found


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Make a store of 200 batches, with checkpoints at 80 of them and in the end."""
    path = tmp_path / "store"
    with open_store(path) as opened:
        add(opened, 80)
        opened.checkpoint()
        add(opened, 120)
        opened.compact()
    return path


def _by(processes: int, path: Path, projections: list[Any] = KNOWN) -> VerifyReport:
    return verify_store(path, projections, processes=processes)


def test_what_two_report_of_a_sound_store_is_what_one_reports(
    store: Path, started: list[LaterFold]
) -> None:
    report = _by(2, store)
    assert report == _by(1, store)
    assert report.is_sound
    assert report.batch_count == 200
    assert report.replayed_checkpoints == report.checkpoint_count == 2
    assert len(started) == 1


def test_a_sound_store_is_read_by_each_of_the_two_once(
    store: Path, started: list[LaterFold], monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[LaterResult] = []
    take = LaterFold.result

    def taken(self: LaterFold) -> LaterResult:
        results.append(take(self))
        return results[-1]

    monkeypatch.setattr(LaterFold, "result", taken)
    assert _by(2, store).is_sound
    assert len(started) == 1
    [result] = results
    assert (result.revision, result.is_clean) == (200, True)


def test_both_find_the_damage_before_and_behind_the_place_where_the_second_began(
    store: Path, started: list[LaterFold]
) -> None:
    for damaged, offset in ((archived(store)[0], 200), (segments(store)[-1], 700)):
        flip(damaged, offset)
        report = _by(2, store)
        assert report == _by(1, store)
        assert str(damaged) in [problem.path for problem in report.problems]
        flip(damaged, offset)
    assert len(started) == 2
    assert _by(2, store).is_sound


def test_both_find_a_later_checkpoint_that_differs_from_the_log(
    store: Path, started: list[LaterFold]
) -> None:
    with EventStore.open(store, [Ledger(), Wrong()], options=SMALL) as opened:
        add(opened, 10)
        opened.checkpoint()
    report = _by(2, store)
    assert report == _by(1, store)
    assert [problem.reason for problem in report.problems] == [
        "table 'totals' differs from the replayed log in 1 row, 'largest' for one"
    ]
    assert len(started) == 1


def test_both_find_that_the_checkpoint_where_the_second_began_differs(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with EventStore.open(path, [Ledger(), Wrong()], options=SMALL) as opened:
        add(opened, 40)
        opened.checkpoint()
        add(opened, 60)
        opened.checkpoint()
    report = _by(2, path)
    assert report == _by(1, path)
    assert len(report.problems) == 2


def test_both_find_a_wrong_index_of_a_segment_before_and_behind(
    store: Path, started: list[LaterFold]
) -> None:
    with open_store(store) as opened:
        opened.compact()  # with room for the indexes of what was sealed since
    indexes = sorted((store / "index").iterdir())
    behind = [path for path in indexes if int(path.stem) > 80]
    assert behind
    for path in (indexes[0], behind[0]):
        flip(path, path.stat().st_size - 1)
        report = _by(2, store)
        assert report == _by(1, store)
        assert [problem.path for problem in report.problems] == [str(path)]
        flip(path, path.stat().st_size - 1)
    assert len(started) == 2
    assert _by(2, store).is_sound


def test_both_tell_what_a_projection_finds_wrong(store: Path, started: list[LaterFold]) -> None:
    projections = [Ledger(), Dissatisfied()]
    report = _by(2, store, projections)
    assert report == _by(1, store, projections)
    assert [problem.reason for problem in report.problems] == [
        "projection 'totals' finds its tables wrong at revision 200: AssertionError: "
        "200 is too much"
    ]
    assert len(started) == 1


def test_where_rows_are_only_equal_the_first_goes_on_by_itself(
    store: Path, started: list[LaterFold], monkeypatch: pytest.MonkeyPatch
) -> None:
    inexact = property(lambda _: False, lambda _, value: None)
    monkeypatch.setattr(Comparison, "is_exact", inexact, raising=False)
    asked: list[LaterFold] = []
    monkeypatch.setattr(LaterFold, "result", asked.append)
    assert _by(2, store).is_sound
    assert len(started) == 1
    assert asked == []


def test_a_second_process_that_is_killed_is_an_error_and_no_pass(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = LaterFold.result

    def killed(self: LaterFold) -> later.LaterResult:
        self._process.kill()
        self._process.join()
        while self._answers.poll():
            try:
                self._answers.recv()
            except EOFError:
                break
        return wait(self)

    monkeypatch.setattr(LaterFold, "result", killed)
    with pytest.raises(ChildProcessError, match="ended without an answer, exit code -9"):
        _by(2, store)


def test_a_second_process_that_has_not_come_to_the_end_is_not_believed(
    store: Path, started: list[LaterFold], monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(self: LaterFold) -> later.LaterResult:
        return later.LaterResult(self.start, 0, is_clean=True)

    monkeypatch.setattr(LaterFold, "result", short)
    assert _by(2, store) == _by(1, store)
    assert len(started) == 1


def test_a_second_process_that_was_stopped_is_ended_all_the_same(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, waited_for = LaterFold.__init__, list[int]()

    def begin_stopped(self: LaterFold, part: later.LaterPart) -> None:
        begin(self, part)
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        timer.args = (self._process.pid,)
        timer.start()

    def let_go_on(pid: int) -> None:
        waited_for.append(pid)
        os.kill(pid, signal.SIGCONT)

    def interrupted(self: LaterFold) -> later.LaterResult:
        assert self._process.is_alive()
        raise KeyboardInterrupt

    timer = threading.Timer(20, let_go_on)
    monkeypatch.setattr(LaterFold, "__init__", begin_stopped)
    monkeypatch.setattr(LaterFold, "result", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            _by(2, store)
    finally:
        timer.cancel()
    assert waited_for == []
    assert multiprocessing.active_children() == []


PROGRAM = """
import sys, time
from eventstore import verify_store
from eventstore.integrity import later
from support.ledger import Ledger, Totals

later.BATCHES_MIN = 10
if sys.argv[2] == "slow":
    later.fold_later = lambda part: time.sleep(60)
if __name__ == "__main__":
    try:
        verify_store(sys.argv[1], [Ledger(), Totals()], processes=2)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture
def program(store: Path, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Return what runs a program that verifies by two processes, in a group of its own."""
    (tmp_path / "program.py").write_text(PROGRAM)
    begun: list[subprocess.Popen[str]] = []

    def begin(how: str) -> subprocess.Popen[str]:
        begun.append(
            subprocess.Popen(
                [sys.executable, tmp_path / "program.py", store, how],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return begun[-1]

    yield begin
    for one in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)


def _wait_for_child(process: subprocess.Popen[str]) -> None:
    """Wait until the second process is there: the other child keeps track of resources."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    deadline = time.monotonic() + 30
    while len(children.read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("delay_seconds", [0, 0.03, 0.1, 0.17, 0.25])
def test_an_interrupt_of_both_says_nothing_beside_what_the_first_says(
    program: Callable[[str], subprocess.Popen[str]], delay_seconds: float
) -> None:
    process = program("slow")
    _wait_for_child(process)
    time.sleep(delay_seconds)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


def test_a_second_process_ends_with_the_first_without_a_word(
    program: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = program("slow")
    _wait_for_child(process)
    time.sleep(1)
    process.kill()
    # It has the same stderr, which is at its end once both have ended.
    _, errors = process.communicate(timeout=30)
    assert errors == ""


def test_a_short_log_a_quick_verification_and_one_process_start_none(
    store: Path, started: list[LaterFold], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verify_store(store, KNOWN, quick=True, processes=2).is_sound
    assert _by(1, store).is_sound
    monkeypatch.setattr(later, "BATCHES_MIN", 1000)
    assert _by(2, store).is_sound
    assert started == []


@pytest.mark.parametrize("processes", [0, -1, True, 1.5])
def test_a_number_of_processes_that_is_none_is_refused(tmp_path: Path, processes: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="processes must be"):
        verify_store(tmp_path, KNOWN, processes=processes)
