"""Samples of the rounds, what is said of them, and how that is shown."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAME_WIDTH = 76
Figures = dict[str, float]
"""What one measurement found; the unit is in the name."""


class Spread(NamedTuple):
    """The median of some samples, and how far they spread."""

    median: float
    lower_quartile: float
    upper_quartile: float
    minimum: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Return that of one sample or more."""
        if len(samples) == 1:
            return cls(*[samples[0]] * 4)
        lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(median, lower, upper, min(samples))


def percentile_99(samples: Sequence[float]) -> float:
    """Return the sample that 99 % of the others do not exceed."""
    return sorted(samples)[int(len(samples) * 0.99)]


class Ratio(NamedTuple):
    """A ratio that is taken within each round: of one participant's figure to another's."""

    of: str
    to: str
    samples: list[float]


class Section:
    """What one section found: figures by participant, ratios, and who was missing."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.ratios: list[Ratio] = []
        self.missing: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.error: str | None = None

    def add(self, who: str, figures: Figures) -> None:
        """Add what a participant did in one round."""
        for figure, value in figures.items():
            self.samples[who][figure].append(value)

    def compare(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Add the ratio of a participant's figure to another's, if both were measured."""
        (who, figure), (whom, to_figure) = one, other
        samples = self.samples.get(who, {}).get(figure, [])
        to_samples = self.samples.get(whom, {}).get(to_figure, [])
        pairs = zip(samples, to_samples, strict=False)
        found = [sample / to_sample for sample, to_sample in pairs if to_sample]
        if found:
            self.ratios.append(Ratio(f"{who} {figure}", f"{whom} {to_figure}", found))

    def compare_all(self, who: str, whom: str) -> None:
        """Add the ratios of all figures that two participants have in common, but for counts."""
        for figure in list(self.samples.get(who, {})):
            if not figure.endswith("_count"):
                self.compare((who, figure), (whom, figure))

    def as_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "figures": {
                who: {figure: _with_spread(samples) for figure, samples in figures.items()}
                for who, figures in self.samples.items()
            },
            "ratios": [
                {"of": ratio.of, "to": ratio.to, **_with_spread(ratio.samples)}
                for ratio in self.ratios
            ],
            "missing": self.missing,
            "error": self.error,
        }

    def lines(self) -> Iterator[str]:
        """Yield it as text."""
        yield f"  {'':<{_NAME_WIDTH}}{'median':>12}{'quartiles':>25}{'minimum':>12}"
        for who, figures in self.samples.items():
            for figure, samples in figures.items():
                yield _line(f"{who}  {figure}", samples)
        for ratio in self.ratios:
            yield _line(f"{ratio.of} / {ratio.to}", ratio.samples)
        for who, reason in self.missing.items():
            yield f"  {who} is missing: {reason}"
        if self.error:
            yield f"  FAILED: {self.error}"


def _with_spread(samples: list[float]) -> dict[str, Any]:
    return {**Spread.of(samples)._asdict(), "samples": samples}


def _line(name: str, samples: list[float]) -> str:
    spread = Spread.of(samples)
    quartiles = f"{spread.lower_quartile:,.2f} - {spread.upper_quartile:,.2f}"
    return f"  {name:<{_NAME_WIDTH}}{spread.median:>12,.2f}{quartiles:>25}{spread.minimum:>12,.2f}"
