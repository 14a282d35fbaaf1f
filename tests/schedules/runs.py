"""Runs of a workload under a schedule, their judgement, and what is printed of one that fails.

A *recipe* is a workload's name and the text of a strategy, such as "mixed pct3:17"; it makes
exactly one run. `python tests/schedules/replay.py mixed pct3:17` makes it again and shows it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import sys
import warnings
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from schedules.checker import Checker, until
from schedules.client import CRASHES, Client, Domain
from schedules.history import Recorder
from schedules.registers import REGISTERS
from schedules.scheduler import Interrupt, Scheduler, virtual_sleep
from schedules.strategies import Planned, depth_for, described, explored, parsed
from schedules.workloads import WORKLOADS

from eventstore import EventStore, StoreOptions
from eventstore.testing import SimulatedFileSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schedules.history import Operation
    from schedules.scheduler import Thread
    from schedules.strategies import Strategy

    from eventstore.testing.faults import Call
    from eventstore.testing.medium import Medium

# What the engine imports when it is first needed would else be among the steps of the first run.
_FIRST = (
    *(
        "backend.opening",
        "copies.backing_up",
        "copies.dumping",
        "copies.places",
        "directory.making",
    ),
    *("handle.upkeep", "integrity.redacted", "integrity.verify", "maintenance.checkpointing"),
    *("directory.making", "maintenance.requests", "proofs.publishing", "proofs.store_tree"),
)
for _name in _FIRST:
    importlib.import_module(f"eventstore.{_name}")

STORE = "/store"
OPTIONS = StoreOptions(segment_bytes=4096, background=False)
_SHOWN_SWITCHES = 60
_VERIFIED = 0.1
_LINES_MAX = 1000


class Crash(NamedTuple):
    """What was on the medium at a time, to be recovered from."""

    time: int
    medium: Medium


@dataclass
class Run:
    """What a workload is given: a store to use, and the means to use it from several threads.

    Attributes:
        scheduler: of the run.
        random: draws what the threads do; the strategy has one of its own.
        recorder: of the history.
        file_system: that the store is on.
        options: of its opens.
        crashes: taken so far.
        tolerated: what clients may be told.
        power_is_cut: whether the run ends with what a power cut leaves.
        interrupt: planned by the recipe.
    """

    scheduler: Scheduler
    random: Random
    domain: Domain = REGISTERS
    recorder: Recorder = field(default_factory=Recorder)
    file_system: SimulatedFileSystem = field(
        default_factory=lambda: SimulatedFileSystem(keep_steps=False, sleep=virtual_sleep)
    )
    options: StoreOptions = OPTIONS
    crashes: list[Crash] = field(default_factory=list)
    tolerated: tuple[type[BaseException], ...] = ()
    power_is_cut: bool = False
    interrupt: Interrupt | None = None
    _threads: list[Thread] = field(default_factory=list)

    def open(self, *, read_only: bool = False) -> EventStore:
        """Open the store."""
        return EventStore.open(
            STORE,
            self.domain.projections,
            read_only=read_only,
            options=self.options,
            file_system=self.file_system,
        )

    def client(self, store: EventStore, name: str) -> Client:
        """Return a client whose choices are its own, whatever the schedule."""
        random = Random(self.random.random())
        return Client(store, self.domain, self.recorder, name, random, self.tolerated)

    def start(
        self, name: str, work: Callable[[], object], interrupt: Interrupt | None = None
    ) -> None:
        """Start a thread."""
        self._threads.append(self.scheduler.spawn(work, name, interrupt=interrupt))

    def join(self) -> None:
        """Wait for all threads that were started."""
        while self._threads:
            self._threads.pop(0).join()

    def crash_at(self, *after_calls: int) -> None:
        """Keep what is on the medium after so many more calls, as if the machine ended there."""
        numbers = {self.file_system.calls + count for count in after_calls}

        def keep(call: Call) -> None:
            if call.number in numbers:
                self.crashes.append(Crash(self.recorder.now(), self.file_system.medium.copy()))

        self.file_system.fault = keep

    def cut_power(self, after_calls: int) -> None:
        """End the medium after so many more calls."""
        self.tolerated += CRASHES
        self.power_is_cut = True
        self.file_system.cut_power(after_calls=after_calls)


class Made(NamedTuple):
    """A run that was made, and judged right."""

    steps: int
    switches: int
    preemptions: int
    operations: int
    recoveries: int
    interrupts: int
    history: list[str]


class ScheduleFailure(AssertionError):  # noqa: N818
    """A run in which something is wrong; the message says how to make it again."""


class Recipe(NamedTuple):
    """All that makes a run: its text is what `parse` takes.

    Attributes:
        workload: its name.
        strategy: as a text.
        lines: whether lines are preemption points, or only operations.
        interrupt: at the nth distinct line of the log's writer; 0 for none.
    """

    workload: str
    strategy: str
    lines: bool = True
    interrupt: int = 0

    def __str__(self) -> str:
        parts = [] if self.lines else ["operations"]
        if self.interrupt:
            parts.append(f"interrupt={self.interrupt}")
        return ",".join((*parts, self.strategy))

    @classmethod
    def parse(cls, workload: str, text: str) -> Recipe:
        """Return the recipe that a text describes."""
        *parts, strategy = text.split(",")
        recipe = cls(workload, strategy)
        for part in parts:
            name, _, value = part.partition("=")
            if name == "operations":
                recipe = recipe._replace(lines=False)
            elif name == "interrupt":
                recipe = recipe._replace(interrupt=int(value))
            else:
                raise ValueError(f"no part of a recipe: {part!r}")
        return recipe

    @property
    def seed(self) -> int:
        """Of what the workload draws; plans are made for one seed."""
        kind, _, rest = self.strategy.partition(":")
        return 0 if kind == "plan" else int(rest)


_INTERRUPTED_FILES = ("log/writer.py",)


def made(recipe: Recipe, strategy: Strategy | None = None) -> Made:
    """Make the run of a recipe and judge it.

    Args:
        recipe: of the run.
        strategy: the one that the recipe describes, to look at it afterwards.

    Raises:
        ScheduleFailure: something is wrong.
    """
    workload = WORKLOADS[recipe.workload]
    strategy = strategy or parsed(recipe.strategy, lambda: length_of(recipe.workload))
    scheduler = Scheduler(strategy, seed=recipe.seed, lines=recipe.lines)
    run = Run(scheduler, Random(recipe.seed))
    if recipe.interrupt:
        run.interrupt = Interrupt(recipe.interrupt, _INTERRUPTED_FILES)
    recoveries: list[int] = []
    try:
        with _quiet():
            scheduler.run(lambda: workload(run))
            # Time, locks and random bytes of what follows are those of a run too.
            Scheduler(Planned(), seed=recipe.seed).run(lambda: recoveries.append(judged(run)))
    except Exception as error:
        raise ScheduleFailure(_report(recipe, run, error)) from error
    return Made(
        scheduler.step,
        len(scheduler.switches),
        scheduler.preemptions,
        len(run.recorder.operations),
        recoveries[0],
        sum(len(task.interrupt.came_at) for task in scheduler.tasks if task.interrupt),
        run.recorder.lines(),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let thousands of recoveries and interrupts go by without a word."""
    logger = logging.getLogger("eventstore")
    was_disabled, logger.disabled = logger.disabled, True
    hook, sys.unraisablehook = sys.unraisablehook, _ignore_interrupt
    try:
        with warnings.catch_warnings():
            # Of a transaction that an interrupt has left open.
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        logger.disabled = was_disabled
        sys.unraisablehook = hook


def _ignore_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Say nothing of an interrupt that came into a finalizer."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


def judged(run: Run) -> int:
    """Recover from every crash and from the end, and check the history against what is found.

    Returns:
        the number of recoveries.

    Raises:
        AssertionError: what is wrong.
    """
    for crash in run.crashes:
        for medium in (_cut(crash.medium, run.random), crash.medium.copy()):
            _judge(run, until(run.recorder.operations, crash.time), medium)
    medium = run.file_system.medium
    end = _cut(medium, run.random) if run.power_is_cut else medium
    _judge(run, run.recorder.operations, end)
    return 2 * len(run.crashes) + 1


def _cut(medium: Medium, random: Random) -> Medium:
    return SimulatedFileSystem(medium.copy(), keep_steps=False).after_power_cut(random).medium


def _judge(run: Run, operations: Sequence[Operation], medium: Medium) -> None:
    file_system = SimulatedFileSystem(medium, keep_steps=False)
    domain = run.domain
    with EventStore.open(
        STORE, domain.projections, options=run.options, file_system=file_system
    ) as store:
        log = [domain.logged(batch) for batch in store.batches()]
        checker = Checker(operations, log, domain.model)
        if checker.check():
            raise AssertionError("\n".join(checker.violations))
        store.check()
        if run.random.random() < _VERIFIED and not store.verify().is_sound:
            raise AssertionError("the store is not sound")
        with domain.front(store).transaction() as tx:
            for query in domain.everything():
                found = domain.ask(tx, query)
                wanted = domain.model.answer(checker.last_state, query)
                if found != wanted:
                    raise AssertionError(f"recovered: {query} must be {wanted!r}, is {found!r}")


def _report(recipe: Recipe, run: Run, error: BaseException) -> str:
    shown = run.scheduler.switches[-_SHOWN_SWITCHES:]
    return "\n".join(
        (
            f"{type(error).__name__}: {error}",
            "",
            f"replay: python tests/schedules/replay.py {recipe.workload!r} {recipe}",
            "",
            *(
                f"{task.name} was interrupted at {place}"
                for task in run.scheduler.tasks
                for place in (task.interrupt.came_at if task.interrupt else ())
            ),
            f"{len(run.scheduler.switches)} switches, the last ones:",
            *(
                f"  {step}: {source} → {target}, at {place}"
                for step, source, target, place in shown
            ),
            "",
            "history:",
            *(f"  {line}" for line in run.recorder.lines()),
        )
    )


@functools.cache
def length_of(name: str) -> int:
    """Return about how many steps a workload takes: those of one run without preemption."""
    scheduler = Scheduler(Planned())
    run = Run(scheduler, Random(0))
    # What is wrong even so is found by a run that is judged.
    with _quiet(), contextlib.suppress(Exception):
        scheduler.run(lambda: WORKLOADS[name](run))
    return scheduler.step


@dataclass
class Sweep:
    """Counts of many runs."""

    schedules: int = 0
    steps: int = 0
    preemptions: int = 0
    histories: int = 0
    operations: int = 0
    recoveries: int = 0
    interrupts: int = 0

    def add(self, run: Made) -> None:
        """Count one."""
        self.schedules += 1
        self.steps += run.steps
        self.preemptions += run.preemptions
        # That of a crash is judged too, each time it is recovered from.
        self.histories += run.recoveries
        self.operations += run.operations
        self.recoveries += run.recoveries
        self.interrupts += run.interrupts

    def counts(self) -> dict[str, int]:
        """Return what a proof records."""
        return dict(vars(self))


def swept(name: str, seeds: range) -> Sweep:
    """Make a run for each seed: by turns a random walk, and PCT of depth 2 to 5."""
    sweep = Sweep()
    for seed in seeds:
        strategy = f"walk:{seed}" if seed % 4 == 0 else f"pct{depth_for(seed)}:{seed}"
        sweep.add(made(Recipe(name, strategy)))
    return sweep


def exhausted(name: str, preemptions: int, *, lines: bool, runs_max: int | None = None) -> Sweep:
    """Make every run of a small workload with up to so many preemptions."""
    sweep = Sweep()

    def run(strategy: Planned) -> None:
        recipe = Recipe(name, described(strategy.plan), lines)
        sweep.add(made(recipe, strategy))

    for _ in explored(run, preemptions, runs_max=runs_max):
        pass
    return sweep


def interrupted_everywhere(name: str, preemptions: int, *, share: float = 1.0) -> Sweep:
    """Make the runs of a small workload with an interrupt at each line, one line after the other.

    Args:
        name: of the workload.
        preemptions: at operations.
        share: of the runs that are made, drawn.
    """
    sweep = Sweep()
    draw = Random(0)
    for at in range(1, _LINES_MAX):
        came: list[bool] = []

        def run(strategy: Planned, at: int = at, came: list[bool] = came) -> None:
            recipe = Recipe(name, described(strategy.plan), lines=False, interrupt=at)
            if came and draw.random() >= share:
                return
            run = made(recipe, strategy)
            came.append(bool(run.interrupts))
            sweep.add(run)

        for _ in explored(run, preemptions):
            pass
        if not any(came):
            break
    return sweep
