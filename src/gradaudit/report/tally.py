"""What came back under one configuration of the client, in counts: the figures that an assessment refers to."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ..metrics import Interval, mean_interval
from ..values.finding import Finding
from ..values.measures import Measure
from . import formatting
from .album import Album
from .cases import CaseGroup, Leak, leaks, worst_per_picture
from .verdict import Verdict


@dataclass(frozen=True)
class PriorGains:
    """What the priors of an attack gained over the control without the update, for each example.

    Args:
        attack: Name of the attack.
        gains: One gain for each example, or their mean alone; at least one.
    """

    attack: str
    gains: tuple[float, ...]


@dataclass(frozen=True)
class Band:
    """The gains that need no update.

    Args:
        low: Its lower end, in the unit of the measure.
        high: Its upper end.
        about: What it is, a sentence.
    """

    low: float
    high: float
    about: str


SPREAD = "how far guesses without the update differ from one another"
PRIOR = "from the control to what the priors of {} reach without the update (prior-only control)"


@dataclass(frozen=True)
class Tally:
    """The figures of one configuration, each private example by its closest reconstruction over all attacks.

    Args:
        verdict: The verdict on the configuration.
        findings: Its findings.
        worst: The closest reconstruction of each example that can be judged, worst leak first.
        found: All leaks that can be judged.
        priors: What the prior-only controls of its clients gained, if there are any.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    worst: tuple[Leak, ...]
    found: tuple[Leak, ...]
    priors: tuple[PriorGains, ...] = ()

    @classmethod
    def of(cls, verdict: Verdict, members: CaseGroup, album: Album, priors: Mapping[int, PriorGains]) -> Tally:
        """Return the figures of the findings of one configuration; `priors` are by the number of the client."""
        found = tuple(leak for leak in leaks(members.findings, album) if leak.judgeable)
        numbers = sorted({number for finding in members.findings for number in client_number(finding.case)})
        own = tuple(priors[number] for number in numbers if number in priors)
        return cls(verdict, members.findings, tuple(worst_per_picture(found)), found, own)

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
        """Whether the client has a defense."""
        return self.findings[0].defended

    @property
    def adapted(self) -> bool:
        """Whether at least one attack that can be judged knew the client's defense and used it."""
        return any(leak.finding.adaptive for leak in self.found)

    def by(self, *, adaptive: bool) -> Tally:
        """Return the figures of the attacks that are, or are not, adapted to the defense."""
        found = tuple(leak for leak in self.found if leak.finding.adaptive is adaptive)
        return replace(self, worst=tuple(worst_per_picture(found)), found=found)

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
    def band(self) -> Band | None:
        """The gains that need no update, by the prior-only control, or else by the spread of the audit's control.

        The control is a guess without the update too, so that the band of a prior-only control begins or ends at 0 if
        all its gains have one sign. Without such a control the band is the lowest and highest value of the control
        minus its mean, or `None` if it is the same for every example.
        """
        if self.priors:
            gains = [0.0, *(gain for one in self.priors for gain in one.gains)]
            names = dict.fromkeys(one.attack for one in self.priors)
            return Band(min(gains), max(gains), PRIOR.format(formatting.listed([*names])))
        values = [leak.of(leak.finding.measured_control) or 0.0 for leak in self.worst]
        values = [value for value in values if math.isfinite(value)]
        if not values or min(values) == max(values):
            return None
        mean = sum(values) / len(values)
        return Band(min(values) - mean, max(values) - mean, SPREAD)


def client_number(case: str) -> tuple[int, ...]:
    """Return the number of the client in the key of a case of an audit, or nothing."""
    found = re.match(r"client(\d+)-", case)
    return (int(found.group(1)),) if found else ()
