"""Findings grouped for the page: by configuration of the client, by attack, and by private example."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from ..values.finding import Finding
from ..values.measures import Measure
from ..values.scores import Score
from . import wording as words
from .album import Album


@dataclass(frozen=True)
class Leak:
    """One private example in one finding.

    Args:
        finding: The case.
        position: Position of the example in the private batch.
        key: The same for one private example of one batch, whichever attack was run.
    """

    finding: Finding
    position: int
    key: Hashable

    def of(self, score: Score | None) -> float | None:
        """Return this example's value of a metric."""
        return score.per_example[self.position] if score else None

    @property
    def measure(self) -> Measure:
        """The measure that judges it."""
        return self.finding.measure

    @property
    def value(self) -> float:
        """Value of the reconstruction, by the measure."""
        return self.finding.measured.per_example[self.position]

    @property
    def gain(self) -> float:
        """Gain over the control, by the measure."""
        return self.gain_of(self.measure.metric) or 0.0

    def gain_of(self, metric: str) -> float | None:
        """Return the gain over the control by a metric, or `None` if it was not computed."""
        mine, control = (self.of(scores.get(metric)) for scores in (self.finding.scores, self.finding.control))
        return None if mine is None or control is None else mine - control

    @property
    def rank(self) -> float | None:
        """Identification rank of the true image; 1 means identified."""
        return self.of(self.finding.scores.rank)

    @property
    def judgeable(self) -> bool:
        """Whether the control leaves room for a gain."""
        return self.finding.judgeable[self.position]

    @property
    def recovered(self) -> bool:
        """Whether the gain reaches the threshold of the measure, and the image is identified if a rank was computed."""
        enough = self.gain >= self.measure.recovered_gain and self.value >= self.measure.recovered
        return enough and self.rank in (None, 1)


@dataclass(frozen=True)
class CaseGroup:
    """Findings under one heading: those of one configuration of the client, or of one attack."""

    label: str
    findings: tuple[Finding, ...]


def group(findings: Iterable[Finding], key: Callable[[Finding], str]) -> list[CaseGroup]:
    """Return the findings grouped by key, in the order of first appearance."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(key(finding), []).append(finding)
    return [CaseGroup(label, tuple(members)) for label, members in groups.items()]


def attack_labels(findings: Sequence[Finding]) -> dict[str, str]:
    """Return key of a case -> name of its attack, numbered if two attacks of the run share a name."""
    return _labels(findings, lambda finding: finding.attack, lambda finding: (finding.attack_value,))


def setting_labels(findings: Sequence[Finding]) -> dict[str, str]:
    """Return key of a case -> name of its client, with the adversary's knowledge if that differs within the run."""

    def name(finding: Finding) -> str:
        return f"{finding.client}, {words.facts(finding.knowledge)} known" if differ else finding.client

    differ = len({finding.knowledge for finding in findings}) > 1
    return _labels(findings, name, lambda finding: (finding.client_value, finding.knowledge))


def _labels(
    findings: Sequence[Finding], name: Callable[[Finding], str], value: Callable[[Finding], Hashable]
) -> dict[str, str]:
    seen: dict[str, list[Hashable]] = {}
    for finding in findings:
        values = seen.setdefault(name(finding), [])
        if value(finding) not in values:
            values.append(value(finding))

    def label(finding: Finding) -> str:
        values = seen[name(finding)]
        return name(finding) if len(values) == 1 else f"{name(finding)} #{values.index(value(finding)) + 1}"

    return {finding.case: label(finding) for finding in findings}


def leaks(findings: Iterable[Finding], album: Album) -> list[Leak]:
    """Return one leak for every private example of every finding that has scores."""
    found = []
    for finding in findings:
        if not finding.scored:
            continue
        truth = finding.pictures.truth
        texts = album.transcript(finding.transcript).truth if finding.transcript else ()
        for i in range(len(finding.measured.per_example)):
            mark: Hashable = texts[i].values if i < len(texts) else finding.batch
            mark = album.digest(truth[i]) if i < len(truth) else mark
            found.append(Leak(finding, i, (finding.seed, finding.repeat, i, mark)))
    return found


def worst_per_picture(found: Iterable[Leak]) -> list[Leak]:
    """Return the closest reconstruction of each private example over all attacks, worst leak first."""
    worst: dict[Hashable, Leak] = {}
    for leak in found:
        if leak.key not in worst or severity(leak) > severity(worst[leak.key]):
            worst[leak.key] = leak
    return sorted(worst.values(), key=severity, reverse=True)


def severity(leak: Leak) -> tuple[bool, float]:
    """Return a sort key: a recovered example is worse than one that is not; the gain decides between equals."""
    return leak.recovered, leak.gain
