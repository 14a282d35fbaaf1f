"""The scheduler finds what needs a certain schedule, ends what would hang, and repeats itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from schedules import example, replay
from schedules.example import Counter, Forks, LockedCounter, Mailbox, spin
from schedules.runs import Recipe, ScheduleFailure, made
from schedules.scheduler import Interrupt, ScheduleError, Scheduler
from schedules.strategies import Pct, Planned, Walk, described, explored, parsed

import eventstore.tables.order
import eventstore.tables.view

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedules.strategies import Strategy


def counted(counter_type: type[Counter], strategy: Strategy, threads: int = 2) -> int:
    """Let threads increase a counter, and return what it comes to."""
    scheduler = Scheduler(strategy)

    def main() -> int:
        counter = counter_type()
        started = [scheduler.spawn(counter.increase, f"t{n}") for n in range(threads)]
        for thread in started:
            thread.join()
        return counter.value

    return int(scheduler.run(main))


@pytest.mark.parametrize("strategy", [Walk, lambda seed: Pct(seed, depth=2, length=10)])
def test_lost_update_is_found_by_chance(strategy: Callable[[int], Strategy]) -> None:
    found = [seed for seed in range(300) if counted(Counter, strategy(seed)) == 1]
    assert found
    assert counted(Counter, strategy(found[0])) == 1
    assert all(counted(LockedCounter, strategy(seed)) == 2 for seed in range(300))


def test_lost_update_needs_one_preemption_and_exploration_finds_it() -> None:
    def results(preemptions: int) -> set[int]:
        found: set[int] = set()
        for _ in explored(lambda plan: found.add(counted(Counter, plan)), preemptions):
            pass
        return found

    assert results(0) == {2}
    assert results(1) == {1, 2}


def test_exploration_makes_every_plan_once_and_proves_the_lock() -> None:
    results: list[int] = []
    plans = list(explored(lambda plan: results.append(counted(LockedCounter, plan)), 2))
    assert len(plans) == len(set(plans)) == len(results) > 100
    assert set(results) == {2}


def test_plan_as_text_makes_the_same_run() -> None:
    results: list[int] = []
    for plan in explored(lambda plan: results.append(counted(Counter, plan)), 1):
        if results[-1] == 1:
            assert counted(Counter, parsed(described(plan), lambda: 0)) == 1
            return
    pytest.fail("no update was lost")


def eaten(strategy: Strategy) -> None:
    scheduler = Scheduler(strategy)

    def main() -> None:
        forks = Forks()
        threads = [
            scheduler.spawn(partial(forks.eat, right_first=right), f"philosopher {right}")
            for right in (False, True)
        ]
        for thread in threads:
            thread.join()

    scheduler.run(main)


def test_deadlock_is_reported_with_what_each_thread_waits_for() -> None:
    failures = []
    for seed in range(50):
        try:
            eaten(Walk(seed))
        except ScheduleError as error:
            failures.append(str(error))
    assert failures
    assert "deadlock" in failures[0]
    assert "philosopher False" in failures[0]
    assert "philosopher True" in failures[0]
    assert failures[0].count("with first, second") == 2


def test_thread_that_spins_is_overtaken_or_reported() -> None:
    def run(strategy: Strategy) -> None:
        scheduler = Scheduler(strategy)

        def main() -> None:
            counter = Counter()
            waiting = scheduler.spawn(lambda: spin(counter), "spinning")
            scheduler.spawn(counter.increase, "working").join()
            waiting.join()

        scheduler.run(main)

    for seed in range(5):
        run(Pct(seed, depth=1, length=10))
        run(Walk(seed))


def mail(scheduler: Scheduler) -> dict[str, bool]:
    """Wait for letters that are posted after an hour and after two."""
    mailbox = Mailbox()
    threads = [
        scheduler.spawn(partial(mailbox.post, letter, letter * 3600.0), f"post {letter}")
        for letter in (1, 2)
    ]
    seen = {
        "early": mailbox.wait(timeout=1800.0),
        "first": mailbox.wait(),
        "both": mailbox.wait_for(2),
        "never": mailbox.wait_for(3, timeout=5.0),
    }
    for thread in threads:
        thread.join()
    return seen


def test_time_is_simulated_and_events_and_conditions_wake() -> None:
    for seed in range(20):
        scheduler = Scheduler(Walk(seed))
        begun = time.monotonic()
        seen = scheduler.run(partial(mail, scheduler))
        assert time.monotonic() - begun < 10
        assert (seen["first"], seen["both"], seen["never"]) == (True, True, False)
        assert 7200 <= scheduler.now < 2 * 7200
    plain = Scheduler(Planned())
    assert not plain.run(partial(mail, plain))["early"]


def interrupted(interrupt: Interrupt) -> str:
    """Return what became of a thread that waits, with an interrupt on its way."""
    scheduler = Scheduler(Planned())
    outcomes: list[str] = []

    def wait(mailbox: Mailbox) -> None:
        try:
            mailbox.wait()
            outcomes.append("woken")
        except KeyboardInterrupt:
            outcomes.append("interrupted")

    def main() -> None:
        mailbox = Mailbox()
        waiting = scheduler.spawn(partial(wait, mailbox), "waiting", interrupt=interrupt)
        scheduler.spawn(partial(mailbox.post, 1, 1.0), "posting").join()
        waiting.join()

    scheduler.run(main)
    [outcome] = outcomes
    return outcome


def test_interrupt_comes_at_each_line_in_turn_and_into_a_wait() -> None:
    interrupts = [Interrupt(at) for at in range(1, 9)]
    for interrupt in interrupts:
        assert interrupted(interrupt) == ("interrupted" if interrupt.came_at else "woken")
    places = [place for interrupt in interrupts for place in interrupt.came_at]
    assert len(places) == len(set(places)) == 2
    assert places[1].endswith("(waiting)")


def test_thread_that_is_left_behind_is_reported_and_names_are_put_back() -> None:
    scheduler = Scheduler(Planned())

    def main() -> None:
        scheduler.spawn(lambda: Mailbox().wait(), "forgotten")
        assert vars(example)["threading"] is not threading
        with pytest.raises(AttributeError):
            _ = vars(example)["threading"].Barrier

    with pytest.raises(ScheduleError, match="left behind: forgotten"):
        scheduler.run(main)
    assert vars(example)["threading"] is threading
    assert vars(eventstore.tables.order)["threading"] is threading
    assert threading.active_count() == 1


RECIPES = [("following", "walk:3"), ("following", "pct3:8"), ("upkeep", "plan:300.1-420.2")]


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_recipe_makes_the_same_run_again_in_another_process_too(name: str, recipe: str) -> None:
    first, second = (made(Recipe.parse(name, recipe)) for _ in range(2))
    assert first == second
    done = subprocess.run(
        [sys.executable, replay.__file__, name, recipe],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    *history, last = done.stdout.splitlines()
    assert history == first.history
    assert last.startswith(f"right: {first.steps} steps, {first.switches} switches")


def test_failing_run_says_how_to_make_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_newest(self: Any, table: Any, key: Any, default: Any = None) -> Any:
        return table.get(key, default)

    monkeypatch.setattr(eventstore.tables.view.View, "get", get_newest)
    failures = []
    for seed in range(100):
        recipe = f"walk:{seed}"
        try:
            made(Recipe.parse("mixed", recipe))
        except ScheduleFailure as failure:
            failures.append((recipe, str(failure)))
            break
    recipe, message = failures[0]
    assert f"replay: python tests/schedules/replay.py 'mixed' {recipe}" in message
    assert "history:" in message
    with pytest.raises(ScheduleFailure) as again:
        made(Recipe.parse("mixed", recipe))
    assert str(again.value) == message
