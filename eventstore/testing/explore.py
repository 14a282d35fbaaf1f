"""Crash exploration: a workload, a crash at every operation, every image it may leave.

The workload runs once, over a simulated file system that keeps the medium after each operation.
Then, for every operation:

- the process is *killed* there: what was cached can still be seen, and what was
  pending is still pending;
- the *power* is cut there: each image that this may leave is tried, all of them while they are
  few, a seeded sample beyond.

Each time the store is opened again, judged (`eventstore.testing.oracle`) and used: one more batch
is committed, on some images the store is compacted, and it is closed. That run is recorded too,
and the power cut in its midst; so recovery itself is crashed. A promise that one run has made
binds all later ones.

An image that was seen before is judged by what was recovered from it then, since opening it
again would give the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from eventstore.options import Retention
from eventstore.testing.images import crash_images, draw_image
from eventstore.testing.notes import Expectation, Notes
from eventstore.testing.oracle import (
    Defect,
    Finding,
    Fold,
    Recovered,
    difference,
    judge,
    recovered,
    tables_of,
)
from eventstore.testing.purity import PROBE_EVENT, check_ignores_unknown
from eventstore.testing.report import Report, in_words
from eventstore.testing.session import SMALL, NotedStore, Session
from eventstore.testing.simulated import SimulatedFileSystem

if TYPE_CHECKING:
    from eventstore.files.interface import FileSystem
    from eventstore.options import StoreOptions
    from eventstore.projection import Projection
    from eventstore.testing.medium import Medium

Workload = Callable[[Session], object]
"""Opens the store of a session, uses it, and need not close it."""

Inspection = Callable[[NotedStore], object]
"""Looks at a recovered store; raises AssertionError if it is not as it should be."""

_KILLED_AGAIN = 0.25
_CRASHES_AFTER_TWO_KILLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much is looked at.

    Attributes:
        crash_points: of a workload; None for all of its operations, else a sample of so many.
        images: at each crash point; if there are more, a sample of so many is taken.
        double_crashes: power cuts during each recovery that is new.
        double_crashes_after_kill: the same, where the process was killed before; a quarter of
            them kill the recovery too, and cut the power during the next one.
        verify_every: of the recovered stores, each nth is verified byte by byte.
        compact_every: of the stores recovered after a power cut, each nth is compacted.
    """

    crash_points: int | None = None
    images: int = 20
    double_crashes: int = 2
    double_crashes_after_kill: int = 5
    verify_every: int = 16
    compact_every: int = 6


QUICK = Depth()
DEEP = Depth(
    images=300,
    double_crashes=4,
    double_crashes_after_kill=40,
    verify_every=4,
    compact_every=2,
)


def explore(
    workload: Workload,
    projections: Sequence[Projection],
    *,
    options: StoreOptions = SMALL,
    depth: Depth = QUICK,
    seed: int = 0,
    own_threads: bool = False,
    stop_early: bool = False,
    inspect: Inspection | None = None,
    wrap: Callable[[FileSystem], FileSystem] | None = None,
) -> Report:
    """Run a workload and try a crash at each of its operations.

    Args:
        workload: what to run.
        projections: of the store.
        options: of the store; see `eventstore.testing.SMALL`.
        depth: how much to look at.
        seed: for the samples.
        own_threads: let the engine's preparing thread run; the operations then come in another
            order from run to run.
        stop_early: go no further than the first crash point with a finding.
        inspect: looks at each recovered store too.
        wrap: puts something between the engine and the simulated file system.

    Returns:
        what was looked at and what is wrong; `Report.require_sound` raises it.

    Raises:
        InconsistencyError: a projection raises on an event of a type that it does not know; the
            recovered stores are used for one more batch, of such an event.
        Exception: what the workload raised.
    """
    check_ignores_unknown(projections)
    random = Random(seed)  # noqa: S311  (to be repeatable)
    explorer = _Explorer(projections, options, depth, random, inspect, wrap)
    return explorer.run(workload, own_threads=own_threads, stop_early=stop_early)


def crash_at_end(
    session: Session,
    file_system: SimulatedFileSystem,
    *,
    depth: Depth = QUICK,
    seed: int = 0,
    inspect: Inspection | None = None,
) -> Report:
    """Try a crash after the last operation of a run, and judge it as `explore` does.

    Args:
        session: of the run.
        file_system: that it has run over; it is not changed.
        depth: how much to look at.
        seed: for the samples.
        inspect: looks at each recovered store too.
    """
    random = Random(seed)  # noqa: S311  (to be repeatable)
    explorer = _Explorer(session.projections, session.options, depth, random, inspect, None)
    return explorer.run_end(session, file_system)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the engine from logging each of thousands of recoveries."""
    logger = logging.getLogger("eventstore")

    def refuse(record: logging.LogRecord) -> bool:
        _ = record
        return False

    logger.addFilter(refuse)
    try:
        yield
    finally:
        logger.removeFilter(refuse)


@dataclass
class _Explorer:
    projections: Sequence[Projection]
    options: StoreOptions
    depth: Depth
    random: Random
    inspect: Inspection | None
    wrap: Callable[[FileSystem], FileSystem] | None
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self.fold = Fold(self.projections)
        self.seen: dict[frozenset[tuple[str, bytes | None]], Recovered | Finding] = {}

    def run(self, workload: Workload, *, own_threads: bool, stop_early: bool) -> Report:
        file_system = SimulatedFileSystem()
        session = self._session(file_system, Expectation())
        session.own_threads = own_threads
        workload(session)
        self.options = session.options
        self.report.operations = file_system.calls
        self.report.crash_points_total = len(file_system.steps)
        with _quiet():
            for position in self._positions(len(file_system.steps)):
                self._crash_at(file_system, session.notes, position)
                if stop_early and not self.report.is_sound:
                    break
        return self.report

    def _positions(self, count: int) -> Sequence[int]:
        limit = self.depth.crash_points
        if limit is None or count <= limit:
            return range(count)
        return sorted(self.random.sample(range(count), limit))

    def run_end(self, session: Session, file_system: SimulatedFileSystem) -> Report:
        self.report.operations = file_system.calls
        self.report.crash_points_total = 1
        with _quiet():
            self._crash_at(file_system, session.notes, file_system.position)
        return self.report

    def _session(self, file_system: SimulatedFileSystem, expected: Expectation) -> Session:
        notes = Notes(lambda: file_system.position, expected)
        seen_by_engine = self.wrap(file_system) if self.wrap else file_system
        return Session(seen_by_engine, self.projections, notes, self.options)

    def _crash_at(self, file_system: SimulatedFileSystem, notes: Notes, position: int) -> None:
        step = file_system.steps[position]
        expected = notes.at(position)
        where = f"after operation {position}, {step.name} {step.path}"
        self.report.crash_points += 1
        self.report.kills += 1
        crashes = self.depth.double_crashes_after_kill
        self._recover(step.medium, expected, f"killed {where}", crashes, was_killed=True)
        for image in crash_images(step.medium, self.depth.images, self.random, newest=step.node):
            self.report.images += 1
            known = self.seen.get(image.medium.fingerprint())
            there = f"power cut {where}: {image.describe()}"
            if known is None:
                known = self._recover(image.medium, expected, there, self.depth.double_crashes)
                self.seen[image.medium.fingerprint()] = known
            elif isinstance(known, Finding):
                self.report.add(known, there)
            else:
                self._add_all(self._judged(known, expected), there)

    def _recover(
        self,
        medium: Medium,
        expected: Expectation,
        where: str,
        crashes: int,
        *,
        was_killed: bool = False,
    ) -> Recovered | Finding:
        """Open, judge and use the store on a medium; then crash that very run so many times."""
        self.report.recoveries += 1
        file_system = SimulatedFileSystem(medium.copy(), keep_steps=crashes > 0)
        session = self._session(file_system, expected)
        found = self._use(session, expected, where, compacts=was_killed)
        if not isinstance(found, Finding):
            self._crash_recovery(file_system, session.notes, where, crashes, may_kill=was_killed)
        return found

    def _crash_recovery(
        self,
        file_system: SimulatedFileSystem,
        notes: Notes,
        where: str,
        count: int,
        *,
        may_kill: bool,
    ) -> None:
        steps = file_system.steps
        positions = self.random.sample(range(len(steps)), min(count, len(steps)))
        for number in range(count):
            position = positions[number % len(positions)]
            step = steps[position]
            there = f"during recovery or use, after operation {position}, {step.name} {step.path}"
            expected = notes.at(position)
            if may_kill and self.random.random() < _KILLED_AGAIN:
                self.report.kills += 1
                crashes = min(count, _CRASHES_AFTER_TWO_KILLS)
                self._recover(step.medium, expected, f"{where}\n  killed {there}", crashes)
            else:
                image = draw_image(step.medium, self.random, newest=step.node)
                self.report.double_crashes += 1
                there = f"{where}\n  power cut {there}: {image.describe()}"
                self._recover(image.medium, expected, there, 0)

    def _use(
        self, session: Session, expected: Expectation, where: str, *, compacts: bool
    ) -> Recovered | Finding:
        try:
            store = session.open()
        except Exception as error:
            finding = Finding(Defect.REFUSED, f"{type(error).__name__}: {in_words(error)}")
            self.report.add(finding, where)
            return finding
        defect = Defect.LOST
        try:
            found = recovered(store)
            defect = Defect.STUCK
            findings = self._judged(found, expected)
            findings += self._examine(store, found, expected)
            if not findings:  # else what is wrong would be reported as what it leads to
                findings += self._work(session, store, compacts=compacts)
        except Exception as error:
            finding = Finding(defect, f"{type(error).__name__}: {in_words(error)}")
            self.report.add(finding, where)
            return finding
        finally:
            store.close()
        self._add_all(findings, where)
        return found

    def _judged(self, found: Recovered, expected: Expectation) -> list[Finding]:
        return list(judge(found, expected, may_drop=self.options.retention != Retention()))

    def _examine(self, store: NotedStore, found: Recovered, expected: Expectation) -> list[Finding]:
        findings = []
        tables = self.fold.tables(found, expected)
        if tables is not None:
            problem = difference(tables_of(store, self.projections), tables)
            if problem is not None:
                message = f"at revision {found.revision}: {problem}"
                findings.append(Finding(Defect.WRONG_STATE, message))
        findings += self._unsound(store)
        oldest = found.batches[0][0] if found.batches else found.revision + 1
        for receipt in expected.receipts[-2:]:
            if oldest <= receipt.revision <= found.revision:
                store.check_receipt(receipt)
        return findings

    def _unsound(self, store: NotedStore) -> list[Finding]:
        try:
            store.check()
            if self.inspect is not None:
                self.inspect(store)
        except AssertionError as error:
            return [Finding(Defect.UNSOUND, in_words(error))]
        return []

    def _work(self, session: Session, store: NotedStore, *, compacts: bool) -> list[Finding]:
        """Use a recovered store as its owner would; return the invariants that this breaks."""
        session.commit(store, PROBE_EVENT)
        findings = self._unsound(store)
        if findings:
            return findings
        if compacts or self.report.recoveries % self.depth.compact_every == 0:
            store.compact()
        if self.report.recoveries % self.depth.verify_every == 0:
            self.report.verified += 1
            verified = store.verify()
            if not verified.is_sound:
                raise AssertionError(f"verify finds {verified.problems}")
        return []

    def _add_all(self, findings: list[Finding], where: str) -> None:
        for finding in findings:
            self.report.add(finding, where)
