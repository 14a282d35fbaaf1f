"""Strategies: who runs next at a preemption point.

- `Walk`: a random walk, with a probability of switching that is drawn for each run.
- `Pct`: probabilistic concurrency testing (Burckhardt, Kothari, Musuvathi, Nagarakatte, "A
  randomized scheduler with probabilistic guarantees of finding bugs", 2010). Threads have random
  priorities, the highest that can run does, and at d - 1 random points the running thread falls
  below all others. A bug that needs d ordered steps is found with probability at least
  1 / (n k^(d-1)) in one run of n threads and k points.
- `Planned`: the running thread goes on until it waits, but for planned deviations. `explored`
  enumerates all plans up to a number of preemptions.

A strategy is described by a text, such as "pct3:1234", from which it can be made again.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schedules.scheduler import Task

_NEVER = 1 << 60
_SPINNING_STEPS = 4_000


class Strategy(Protocol):
    """Picks the thread that runs next.

    Attributes:
        look_at: no line before this step is a point where it would switch.
    """

    look_at: int

    def pick(
        self, step: int, current: Task | None, able: Sequence[Task], asleep: Sequence[Task]
    ) -> Task:
        """Return who runs next.

        Args:
            step: of this preemption point.
            current: who has run, if it can go on.
            able: who can run, by number.
            asleep: who would go on if the time it waits for had passed.
        """


def _earliest(asleep: Sequence[Task]) -> Task:
    return min(asleep, key=lambda task: (task.deadline or 0.0, task.number))


class Walk:
    """A random walk."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._lines_a_look = 10 ** self._random.uniform(0.0, 2.5)
        self._switching = self._random.uniform(0.05, 0.7)
        self.look_at = 0

    def pick(
        self, step: int, current: Task | None, able: Sequence[Task], asleep: Sequence[Task]
    ) -> Task:
        draw = self._random
        if step >= self.look_at:
            self.look_at = step + 1 + int(draw.expovariate(1 / self._lines_a_look))
        if current is not None and draw.random() >= self._switching:
            return current
        if asleep and (not able or draw.random() < 0.05):
            return _earliest(asleep)
        return draw.choice(able)


class Pct:
    """Random priorities with a few points at which they change."""

    def __init__(self, seed: int, depth: int, length: int) -> None:
        """Make one.

        Args:
            seed: of all that is drawn.
            depth: one more than the number of change points.
            length: about how many steps the run takes.
        """
        self._random = Random(seed)
        self._changes = deque(
            sorted(self._random.randrange(max(1, length)) for _ in range(depth - 1))
        )
        # How often a time passes although somebody could run.
        self._haste = self._random.choice((0.0, 0.0, 0.02, 0.2))
        self._priorities: dict[int, float] = {}
        self._lowest = 0.0
        self._fair_at = _SPINNING_STEPS
        self._last: Task | None = None
        self.look_at = 0

    def pick(
        self, step: int, current: Task | None, able: Sequence[Task], asleep: Sequence[Task]
    ) -> Task:
        if current is None or current is not self._last:
            self._fair_at = step + _SPINNING_STEPS
        if current is not None:
            while self._changes and step >= self._changes[0]:
                self._changes.popleft()
                self._demote(current)
            if step >= self._fair_at:  # it may be waiting in a loop for one that can't run
                self._fair_at = step + _SPINNING_STEPS
                self._demote(current)
        self.look_at = min(self._changes[0] if self._changes else _NEVER, self._fair_at)
        if able and not (asleep and self._haste and self._random.random() < self._haste):
            chosen = max(able, key=self._priority)
        else:
            chosen = _earliest(asleep)
            # Those that poll must not keep the others from running.
            self._demote(chosen)
        self._last = chosen
        return chosen

    def _priority(self, task: Task) -> float:
        if task.number not in self._priorities:
            self._priorities[task.number] = 1 + self._random.random()
        return self._priorities[task.number]

    def _demote(self, task: Task) -> None:
        self._lowest -= 1
        self._priorities[task.number] = self._lowest


class Deviation(NamedTuple):
    """At a step, another thread runs than the one that would."""

    step: int
    task: int


class Stretch(NamedTuple):
    """Steps of one thread between two of its operations: all have the same alternatives."""

    first_step: int
    last_step: int
    is_forced: bool
    others: tuple[int, ...]


class Planned:
    """Runs one thread until it waits, but where the plan says otherwise; keeps what else it could.

    Attributes:
        stretches: the alternatives at each step.
    """

    def __init__(self, plan: Sequence[Deviation] = ()) -> None:
        self.plan = tuple(plan)
        self._plan = deque(plan)
        self.stretches: list[Stretch] = []
        self._begun: tuple[int, tuple[int, ...]] | None = None
        self.look_at = 0

    def pick(
        self, step: int, current: Task | None, able: Sequence[Task], asleep: Sequence[Task]
    ) -> Task:
        self._end_stretch(step - 1)
        planned = None
        if self._plan and self._plan[0].step <= step:
            number = self._plan.popleft().task
            planned = next((task for task in (*able, *asleep) if task.number == number), None)
        default = current or (able[0] if able else _earliest(asleep))
        chosen = planned or default
        others = tuple(task.number for task in able if task is not default)
        self.stretches.append(Stretch(step, step, current is None, others))
        # Until the next operation the thread that runs could be preempted at each line.
        self._begun = (step + 1, tuple(task.number for task in able if task is not chosen))
        self.look_at = self._plan[0].step if self._plan else _NEVER
        return chosen

    def _end_stretch(self, last_step: int) -> None:
        if self._begun is not None and self._begun[0] <= last_step:
            first_step, others = self._begun
            self.stretches.append(Stretch(first_step, last_step, is_forced=False, others=others))
        self._begun = None


def explored(
    run: Callable[[Planned], object], preemptions: int, *, runs_max: int | None = None
) -> Iterator[tuple[Deviation, ...]]:
    """Run every plan with up to so many preemptions, those with fewer first; yield each.

    A choice between threads where the running one waits is no preemption: all are tried.

    Args:
        run: given a strategy, makes a run from the same start.
        preemptions: how many at most.
        runs_max: end after so many runs.
    """
    level: deque[tuple[Deviation, ...]] = deque([()])
    runs = 0
    for left in range(preemptions, -1, -1):
        following: deque[tuple[Deviation, ...]] = deque()
        while level:
            if runs_max is not None and runs >= runs_max:
                return
            plan = level.popleft()
            strategy = Planned(plan)
            run(strategy)
            runs += 1
            yield plan
            begun = plan[-1].step if plan else 0
            for stretch in strategy.stretches:
                for step in range(max(stretch.first_step, begun + 1), stretch.last_step + 1):
                    for number in stretch.others:
                        child = (*plan, Deviation(step, number))
                        if stretch.is_forced:
                            level.append(child)
                        elif left:
                            following.append(child)
        level = following


def parsed(text: str, length: Callable[[], int]) -> Strategy:
    """Return the strategy that a text describes.

    Args:
        text: "walk:SEED", "pctDEPTH:SEED", "plan:" or "plan:STEP.TASK-STEP.TASK…".
        length: returns about how many steps the run takes.
    """
    kind, _, rest = text.partition(":")
    if kind == "walk":
        return Walk(int(rest))
    if kind.startswith("pct"):
        return Pct(int(rest), int(kind[3:]), length())
    if kind == "plan":
        pairs = [pair.split(".") for pair in rest.split("-") if pair]
        return Planned([Deviation(int(step), int(task)) for step, task in pairs])
    raise ValueError(f"no strategy {text!r}")


def described(plan: Sequence[Deviation]) -> str:
    """Return the text of a plan."""
    return "plan:" + "-".join(f"{step}.{task}" for step, task in plan)


def depth_for(seed: int) -> int:
    """Return the depth that a sweep gives to a seed: 2 to 5."""
    return 2 + int(math.log2(1 + Random(seed).randrange(15)))
