"""What the settings of a sweep cost: accuracy, bits and the worst leak of all cells that share a federation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..audit.sweep_file import at_in_words, canonical
from ..audit.utility import relevant
from ..metrics import Interval, mean_interval
from ..values.deciding import deciding
from ..values.federation_result import FederationResult
from ..values.finding import Finding
from ..values.measures import Measure
from . import formatting
from .pareto import CostPoint
from .sweep_cells import SweptCell, judged_gain, level_of
from .verdict import Severity

SPACE = "\N{NO-BREAK SPACE}"
GUESSED = "its accuracy is not above a guess of the most frequent class"
UNITS = (("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3))


@dataclass(frozen=True)
class CostSetting:
    """One setting of the clients: all cells that train the same federation, whatever attacks them.

    Args:
        number: Number of the setting, from 1.
        at: The keys of the grid on which its training depends -> values.
        cells: Its cells.
        results: Its finished trainings, one for each seed.
        seeds: Number of trainings that belong to it.
    """

    number: int
    at: Mapping[str, Any]
    cells: tuple[SweptCell, ...]
    results: tuple[FederationResult, ...]
    seeds: int

    @property
    def anchor(self) -> str:
        """The id of its row on the page."""
        return f"setting-{self.number}"

    @property
    def name(self) -> str:
        """Its values in words."""
        return at_in_words(self.at) or (self.results[0].client if self.results else "the client")

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of its cells that decide on the verdict."""
        return tuple(finding for cell in self.cells for finding in deciding(cell.findings)) if self.cells else ()

    @property
    def measure(self) -> Measure | None:
        """The measure of its examples, or `None` without findings."""
        return self.findings[0].measure if self.findings else None

    @property
    def defended(self) -> bool:
        """Whether its clients have a defense."""
        return any(finding.defended for finding in self.findings)

    @property
    def adaptive(self) -> bool:
        """Whether an attack that knows the defense and uses it has a score."""
        return any(finding.adaptive and judged_gain(finding) is not None for finding in self.findings)

    @cached_property
    def gains(self) -> tuple[tuple[str, Interval], ...]:
        """Each attack of each cell that has a score, with its mean gain over the batches."""
        return tuple(
            (attack or members.findings[0].attack, mean_interval(gains))
            for cell in self.cells
            for attack, members in cell.attacks.items()
            if (gains := [gain for one in members.findings if (gain := judged_gain(one)) is not None])
        )

    @property
    def worst(self) -> tuple[str, Interval] | None:
        """The attack with the largest mean gain of all cells, and that gain; `None` without any."""
        return max(self.gains, key=lambda pair: pair[1].mean, default=None)

    @property
    def reach(self) -> float:
        """The largest upper end of the intervals of all attacks; infinite if one has a single batch."""
        highs = (interval.high for _, interval in self.gains)
        return max((math.inf if math.isnan(high) else high for high in highs), default=math.inf)

    @cached_property
    def accuracy(self) -> Interval | None:
        """Accuracy after all rounds, over the seeds."""
        return mean_interval([result.accuracy for result in self.results]) if self.results else None

    def within(self, bits: float) -> Interval | None:
        """Return the accuracy after a client has sent at most `bits`, over the seeds."""
        return mean_interval([result.accuracy_within(bits) for result in self.results]) if self.results else None

    @property
    def recovered(self) -> bool:
        """Whether a private example was recovered in one of its cells."""
        return any(level_of(cell) is Severity.RECOGNISABLE for cell in self.cells)

    def change(self, other: CostSetting) -> Interval | None:
        """Return the accuracy minus that of another setting, in pairs of equal seeds; `None` without a pair."""
        return paired_change(self.results, other.results)

    @property
    def bits(self) -> float:
        """Bits that a client sends in all rounds, the mean over the seeds; NaN without a training."""
        return sum(result.bits for result in self.results) / len(self.results) if self.results else math.nan

    @cached_property
    def point(self) -> CostPoint:
        """What decides whether the setting is on the front, and whether it can be the best one."""
        worst = self.worst
        return CostPoint(self.name, self.accuracy, worst and worst[1], tuple(self._obstacles()))

    def _obstacles(self) -> Iterator[str]:
        levels = [level_of(cell) for cell in self.cells]
        measure = self.measure
        if len(self.results) < self.seeds:
            yield "trainings are missing"
        if measure is None or None in levels or Severity.UNKNOWN in levels or _unjudged(self.findings):
            yield "attacks are missing or cannot be judged"
        if self.recovered:
            yield f"a private {measure.noun if measure else 'example'} was recovered"
        elif measure is not None and self.worst is not None and self.reach >= measure.recovered_gain:
            single = "one batch gives no interval of the gain"
            limit = formatting.measured(measure.recovered_gain, measure, signed=True)
            yield single if math.isinf(self.reach) else f"the interval of a gain reaches {limit}"
        if self.defended and not self.adaptive:
            yield "no attack that knows the defense was run"
        if any(result.diverged for result in self.results):
            yield "a training diverged"
        if self.results and not learnt(self.results):
            yield GUESSED


def paired_change(mine: Sequence[FederationResult], theirs: Sequence[FederationResult]) -> Interval | None:
    """Return the accuracy of some trainings minus that of others, in pairs of equal seeds; `None` without a pair."""
    other = {result.number: result.accuracy for result in theirs}
    pairs = [one.accuracy - other[one.number] for one in mine if one.number in other]
    return mean_interval(pairs) if pairs else None


def cost_settings(
    cells: Sequence[SweptCell], results: Sequence[FederationResult], planned: int
) -> tuple[CostSetting, ...]:
    """Return the settings of a sweep in the order of its cells.

    Args:
        cells: All cells.
        results: The finished trainings.
        planned: Number of trainings of the sweep.
    """
    together: dict[str, list[SweptCell]] = {}
    for cell in cells:
        together.setdefault(canonical(relevant(cell.at)), []).append(cell)
    trained: dict[str, list[FederationResult]] = {}
    for result in results:
        trained.setdefault(canonical(result.grid), []).append(result)
    seeds = planned // max(1, len(together))
    return tuple(
        CostSetting(number, relevant(members[0].at), tuple(members), _by_seed(trained.get(key, ())), seeds)
        for number, (key, members) in enumerate(together.items(), 1)
    )


def learnt(results: Sequence[FederationResult]) -> bool:
    """Return whether the accuracy is above that of a guess of the most frequent class, by its interval over the seeds.

    It is true where labels are no classes, so that there is no such guess.
    """
    above = [result.accuracy - result.chance for result in results if not math.isnan(result.chance)]
    if not above:
        return True
    interval = mean_interval(above)
    return (interval.mean if math.isnan(interval.low) else interval.low) > 0


def accuracy_in_words(interval: Interval | None) -> str:
    """Return an accuracy with its interval, such as `81.2 % [79.0, 83.4], n = 3`."""
    if interval is None:
        return formatting.MISSING
    bounds = ""
    if math.isfinite(interval.low) and math.isfinite(interval.high):
        low, high = (formatting.number(100 * min(1, max(0, end)), 1) for end in (interval.low, interval.high))
        bounds = f" [{low}, {high}]"
    return f"{formatting.number(100 * interval.mean, 1)}{SPACE}%{bounds}, n{SPACE}={SPACE}{interval.n}"


def change_in_words(interval: Interval | None) -> str:
    """Return a difference of accuracies in points with its interval, such as `−3.1 points [−4.0, −2.2]`."""
    if interval is None:
        return formatting.MISSING
    mean, low, high = (
        formatting.number(100 * end, 1, signed=True) for end in (interval.mean, interval.low, interval.high)
    )
    return f"{mean}{SPACE}points" + (f" [{low}, {high}]" if math.isfinite(interval.low) else "")


def bits_in_words(bits: float) -> str:
    """Return a number of bits, such as `8.59 Mbit`."""
    if not math.isfinite(bits):
        return formatting.MISSING
    unit, size = next((pair for pair in UNITS if bits >= pair[1]), ("bit", 1.0))
    return f"{formatting.scientific(bits / size)}{SPACE}{unit}"


def _unjudged(findings: Iterable[Finding]) -> bool:
    return any(judged_gain(finding) is None for finding in findings)


def _by_seed(results: Iterable[FederationResult]) -> tuple[FederationResult, ...]:
    return tuple(sorted(results, key=lambda result: result.number))
