"""What an exploration has looked at and found."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import NamedTuple

from eventstore.testing.oracle import Defect, Finding

_SHOWN_MAX = 5


class Checked(NamedTuple):
    """What a check of a domain has looked at, without finding anything.

    Attributes:
        scripts: that were run.
        batches: that they committed.
        recoveries: stores that were opened after a crash.
        other_process: whether the batches were folded in another process too, or why not.
        commands: that were done or refused, in the plain run of each script.
        refused: how many of them were refused. Where most were, little was looked at.
    """

    scripts: int
    batches: int
    recoveries: int
    other_process: str
    commands: int = 0
    refused: int = 0

    @property
    def refused_share(self) -> float:
        """Which part of the commands was refused, 0 to 1."""
        return self.refused / self.commands if self.commands else 0.0


class InconsistencyError(AssertionError):
    """A crash loses, invents or breaks something."""


def in_words(error: BaseException) -> str:
    """Return the text of an error; where it has none, its class and the place that raised it."""
    if str(error):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    place = f", raised in {last.name}, {last.filename}:{last.lineno}" if last else ""
    return f"{type(error).__name__} without a text{place}"


@dataclass(slots=True)
class Report:
    """Counts of one exploration, and what is wrong.

    Attributes:
        operations: calls of the file system that the workload made.
        crash_points: states of the medium at which a crash was tried.
        crash_points_total: states that the workload left; an operation that only reads leaves none.
        images: power cuts: one for each image at each crash point.
        recoveries: stores that were opened after a crash, judged and used: one for each image that
            differs, for each kill and for each double crash.
        kills: crash points at which only the processes died.
        double_crashes: images of power cuts during a recovery, or during use after it.
        verified: recovered stores that were also verified byte by byte.
        counts: findings by what is wrong.
        problems: the first findings of each kind, in words.
    """

    operations: int = 0
    crash_points: int = 0
    crash_points_total: int = 0
    images: int = 0
    recoveries: int = 0
    kills: int = 0
    double_crashes: int = 0
    verified: int = 0
    counts: dict[Defect, int] = field(default_factory=lambda: dict.fromkeys(Defect, 0))
    problems: list[str] = field(default_factory=list)

    @property
    def acknowledged_lost(self) -> int:
        """How many findings say that something acknowledged is lost, or a sound store refused."""
        return self.counts[Defect.LOST] + self.counts[Defect.REFUSED]

    @property
    def phantoms(self) -> int:
        """How many batches were found that nobody had issued."""
        return self.counts[Defect.PHANTOM]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.counts.values())

    def add(self, finding: Finding, where: str) -> None:
        """Count a finding, and keep it in words unless there are enough of its kind."""
        self.counts[finding.defect] += 1
        if self.counts[finding.defect] <= _SHOWN_MAX:
            self.problems.append(f"{finding.defect.value}: {finding.message}\n  {where}")

    def __str__(self) -> str:
        lines = [
            f"{self.operations} operations, {self.crash_points} of {self.crash_points_total} crash "
            f"points, {self.images} images ({self.recoveries} recoveries), {self.kills} kills, "
            f"{self.double_crashes} double crashes, {self.verified} verified; "
            f"{self.acknowledged_lost} acknowledged lost, {self.phantoms} phantoms",
            *self.problems,
        ]
        return "\n".join(lines)

    def require_sound(self) -> None:
        """Raise unless nothing is wrong.

        Raises:
            InconsistencyError: says what is.
        """
        if not self.is_sound:
            raise InconsistencyError(str(self))
