"""Processes that wait for a store are let in in the order in which they came."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.engine import open_store

from eventstore import StoreLockedError
from eventstore.files.line import Place, place_in_line

WAITER = """
import sys, time
from pathlib import Path
from support.engine import open_store
print("came", flush=True)
with open_store(Path(sys.argv[1]), lock_timeout=30) as store:
    print("in", time.monotonic_ns(), flush=True)
    time.sleep(0.05)
"""


def place(path: Path) -> Place:
    found = place_in_line(os.open(path, os.O_RDWR))
    assert found is not None
    return found


@pytest.fixture
def line(tmp_path: Path) -> Path:
    path = tmp_path / "LOCK"
    path.write_text("held")
    return path


def test_who_came_first_is_first_until_he_leaves(line: Path) -> None:
    places = [place(line) for _ in range(5)]
    for each in places:
        assert [other.is_first() for other in places[places.index(each) :]] == (
            [True] + [False] * (4 - places.index(each))
        )
        each.leave()
    assert line.read_text() == "held"


def test_one_that_gives_up_in_the_middle_lets_those_behind_move_on(line: Path) -> None:
    first, second, third = (place(line) for _ in range(3))
    second.leave()
    assert not third.is_first()
    first.leave()
    assert third.is_first()
    third.leave()


def test_those_that_come_in_the_same_nanosecond_stand_behind_each_other(
    line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.files.line.time.monotonic_ns", lambda: 7)
    places = [place(line) for _ in range(3)]
    assert [each.is_first() for each in places] == [True, False, False]
    for each in places:
        each.leave()


def start_waiter(store: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parent.parent
    waiter = subprocess.Popen(
        [sys.executable, "-c", WAITER, str(store)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{root.parent}:{root}"},
    )
    assert waiter.stdout is not None
    assert waiter.stdout.readline() == "came\n"
    time.sleep(0.1)  # it prints just before it stands in line
    return waiter


def test_processes_are_let_in_in_order_and_nobody_waits_for_the_dead(tmp_path: Path) -> None:
    with open_store(tmp_path / "store"):
        waiters = [start_waiter(tmp_path / "store") for _ in range(4)]
        waiters[1].send_signal(signal.SIGKILL)
        waiters[1].wait()
    said = [waiter.communicate(timeout=30)[0].split() for waiter in waiters]
    assert said.pop(1) == []
    times = [int(words[1]) for words in said]
    assert times == sorted(times)


def test_one_that_comes_while_another_waits_is_not_let_in_before_him(tmp_path: Path) -> None:
    open_store(tmp_path / "store").close()
    waiting = place(tmp_path / "store" / "LOCK")
    with pytest.raises(StoreLockedError):
        open_store(tmp_path / "store", lock_timeout=0.1)
    waiting.leave()
    open_store(tmp_path / "store", lock_timeout=0.1).close()


def test_one_that_waits_behind_others_is_told_who_holds_the_store(tmp_path: Path) -> None:
    errors: list[StoreLockedError] = []

    def wait() -> None:
        try:
            open_store(tmp_path / "store", lock_timeout=0.3).close()
        except StoreLockedError as error:
            errors.append(error)

    with open_store(tmp_path / "store"):
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [f"process {os.getpid()} on" in str(error) for error in errors] == [True] * 3
