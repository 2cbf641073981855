"""The worst value of each measure that can have a threshold: of an example, a case or a configuration of the client."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from ..audit.sweep_file import at_in_words
from ..values.finding import Finding
from ..values.thresholds import IDENTIFIED, Threshold
from . import formatting
from .cases import Leak, severity


@dataclass(frozen=True)
class WorstValue:
    """The largest value of one measure in a run.

    Args:
        threshold: The threshold of the measure.
        value: The value, in the unit of the threshold.
        finding: The case in which it was measured; for a number of examples, the case of the closest one.
        example: Position of the example in its batch, or `None` for a measure of a whole case.
        cases: Keys of the cases that reach the threshold, or that contribute to a number that does.
        share: For a number of examples, what it is in words, such as `3 of 4 images`.
    """

    threshold: Threshold
    value: float
    finding: Finding
    example: int | None = None
    cases: tuple[str, ...] = ()
    share: str = ""

    @property
    def exceeded(self) -> bool:
        """Whether the value reaches the threshold."""
        return self.threshold.reached_by(self.value)

    @property
    def place(self) -> str:
        """The attack, the client, the batch and the example, in words; of a sweep, the values of the cell too."""
        finding, cell = self.finding, at_in_words(self.finding.grid)
        where = [f"{finding.attack} on {finding.client}", f"batch {finding.repeat + 1}"]
        if self.example is not None:
            where.append(f"{finding.measure.noun} {self.example + 1}")
        return ", ".join((*where, cell) if cell else where)

    @property
    def line(self) -> str:
        """The comparison in one line."""
        limit, text = self.threshold, self.share or self.threshold.text(self.value)
        if limit.counts and not limit.value:
            said = f"{text}, and none is allowed" if self.exceeded else f"{text}, as required"
        else:
            said = f"{text}, {'at or above' if self.exceeded else 'below'} the threshold of {limit.text()}"
        return f"{limit.measure}: {said} ({'closest: ' if self.share else ''}{self.place})."


def examples(findings: Iterable[Finding]) -> list[Leak]:
    """Return one leak for every private example of every finding that has scores, without reading any image."""
    return [
        Leak(finding, i, (configuration_of(finding), finding.seed, finding.repeat, finding.batch, i))
        for finding in findings
        if finding.scored
        for i in range(len(finding.measured.per_example))
    ]


def configuration_of(finding: Finding) -> Hashable:
    """Return what is equal for all cases of one configuration of the client and one knowledge of the adversary."""
    return finding.client_value, finding.knowledge, repr(dict(finding.grid))


def worst_gain(threshold: Threshold, certain: Sequence[Leak]) -> tuple[WorstValue | None, str]:
    """Return the largest gain of one example, or why there is none."""
    mine = [leak for leak in certain if leak.finding.modality == threshold.modality]
    if not mine:
        return None, "no example with this measure could be judged."
    top = max(mine, key=lambda leak: leak.gain)
    cases = _cases(leak.finding for leak in mine if threshold.reached_by(leak.gain))
    return WorstValue(threshold, top.gain, top.finding, top.position, cases), ""


def worst_labels(threshold: Threshold, judged: Sequence[Finding]) -> tuple[WorstValue | None, str]:
    """Return the largest accuracy of the inferred labels of one case, or why there is none."""
    stated = [(f.label_accuracy, f) for f in judged if f.label_accuracy is not None and not f.labels_granted]
    if not stated:
        granted = any(finding.labels_granted for finding in judged)
        return None, "the labels were granted." if granted else "no attack inferred the labels."
    value, finding = max(stated, key=lambda pair: pair[0])
    cases = _cases(one for accuracy, one in stated if threshold.reached_by(accuracy))
    return WorstValue(threshold, value, finding, None, cases), ""


def worst_count(threshold: Threshold, certain: Sequence[Leak]) -> tuple[WorstValue | None, str]:
    """Return the largest number, or share, of examples of one configuration of the client, and what was not counted."""
    ranked = threshold.measure == IDENTIFIED
    counts: Callable[[Leak], bool] = (lambda leak: leak.rank == 1) if ranked else (lambda leak: leak.recovered)
    settings: dict[Hashable, list[Leak]] = {}
    for leak in certain:
        settings.setdefault(configuration_of(leak.finding), []).append(leak)
    if not settings:
        return None, "no example could be judged."
    found, why, most = [], "", 0
    for members in settings.values():
        everyone = {leak.key for leak in members}
        hits = [leak for leak in members if counts(leak)]
        number = len({leak.key for leak in hits})
        if ranked and everyone - {leak.key for leak in members if leak.rank is not None}:
            why = "there is no identification rank, because there was no gallery. Give the run other examples."
        most = max(most, len(everyone))
        top = max(hits or members, key=severity)
        value = number if threshold.counts else number / len(everyone)
        cases = _cases(leak.finding for leak in hits) if threshold.reached_by(value) else ()
        share = formatting.share(number, len(everyone), top.measure.noun)
        found.append(WorstValue(threshold, value, top.finding, top.position, cases, share))
    if threshold.counts and threshold.value > most:
        noun = found[0].finding.measure.noun
        why = f"a client has at most {formatting.count(most, noun)}, so {threshold.text()} cannot be reached."
    worst = max(found, key=lambda one: one.value)
    cases = tuple(dict.fromkeys(case for one in found for case in one.cases))
    return WorstValue(threshold, worst.value, worst.finding, worst.example, cases, worst.share), why


def _cases(findings: Iterable[Finding]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(finding.case for finding in findings))
