"""What came back under one configuration of the client, in counts: the figures that an assessment refers to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ..metrics import Interval, mean_interval
from ..values.finding import Finding
from ..values.measures import Measure
from . import formatting
from .album import Album
from .cases import CaseGroup, Leak, leaks, worst_per_picture
from .verdict import Verdict

UNDEFENDED = "no defense"


@dataclass(frozen=True)
class Tally:
    """The figures of one configuration, each private example by its closest reconstruction over all attacks.

    Args:
        verdict: The verdict on the configuration.
        findings: Its findings.
        worst: The closest reconstruction of each example that can be judged, worst leak first.
        found: All leaks that can be judged.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    worst: tuple[Leak, ...]
    found: tuple[Leak, ...]

    @classmethod
    def of(cls, verdict: Verdict, members: CaseGroup, album: Album) -> Tally:
        """Return the figures of the findings of one configuration."""
        found = tuple(leak for leak in leaks(members.findings, album) if leak.judgeable)
        return cls(verdict, members.findings, tuple(worst_per_picture(found)), found)

    @property
    def label(self) -> str:
        """Name of the configuration."""
        return self.verdict.setting

    @property
    def measure(self) -> Measure:
        """The measure of its examples."""
        return self.findings[0].measure

    @property
    def defended(self) -> bool:
        """Whether the client has a defense, or one is declared of a captured update, which has the name of its file."""
        finding = self.findings[0]
        undeclared = finding.client_value.startswith("CapturedClient(") and "defenses=()" in finding.client_value
        return finding.client != UNDEFENDED and not undeclared

    @property
    def recovered(self) -> int:
        """Number of examples that were recovered."""
        return sum(leak.recovered for leak in self.worst)

    @cached_property
    def ranked(self) -> tuple[Leak, ...]:
        """The leaks with an identification rank."""
        return tuple(leak for leak in self.found if leak.rank is not None)

    @property
    def identified(self) -> int:
        """Number of examples that were identified by at least one attack."""
        return len({leak.key for leak in self.ranked if leak.rank == 1})

    @property
    def identification(self) -> str:
        """Text such as `4 of 4 identified among 9 images`, or an empty string if no rank was computed."""
        if not self.ranked:
            return ""
        gallery = min(leak.finding.gallery for leak in self.ranked)
        among = f" among {formatting.count(gallery, self.measure.noun)}" if gallery else ""
        return f"{self.identified} of {len({leak.key for leak in self.ranked})} identified{among}"

    @property
    def recovery(self) -> str:
        """Text such as `4 of 4 images recovered`."""
        return f"{formatting.share(self.recovered, len(self.worst), self.measure.noun)} recovered"

    @property
    def mean_gain(self) -> str:
        """Text such as `mean gain +15.6 dB`."""
        return f"mean gain {formatting.measured(self.interval.mean, self.measure, signed=True)}"

    @property
    def interval(self) -> Interval:
        """Mean gain with its 95 % interval: over batches, or over the examples if there is one batch."""
        batches: dict[tuple[int, int], list[float]] = {}
        for leak in self.worst:
            batches.setdefault((leak.finding.seed, leak.finding.repeat), []).append(leak.gain)
        several = [sum(gains) / len(gains) for gains in batches.values()]
        return mean_interval(several if len(several) > 1 else [leak.gain for leak in self.worst])

    @property
    def band(self) -> tuple[float, float] | None:
        """Lowest and highest value of the control minus its mean, or `None` if it is the same for every example."""
        values = [leak.of(leak.finding.measured_control) or 0.0 for leak in self.worst]
        values = [value for value in values if math.isfinite(value)]
        if not values or min(values) == max(values):
            return None
        mean = sum(values) / len(values)
        return min(values) - mean, max(values) - mean
