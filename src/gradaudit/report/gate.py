"""The gate: whether what leaked reaches a threshold, by the worst example over all attacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.modalities import kind_of
from ..execution.runner import require_complete
from ..values.deciding import deciding
from ..values.errors import AuditError
from ..values.finding import Finding, RunRecord
from ..values.measures import MEASURES
from ..values.thresholds import COUNTED, IDENTIFIED, LABEL_ACCURACY, Threshold, example_of, gain_name, read_thresholds
from ..values.types import Knowledge, Modality
from ..values.versions import version_of
from . import formatting
from .cases import Leak, group, setting_labels
from .verdict import Verdict, in_words, judge, naive
from .worst_values import WorstValue, examples, worst_count, worst_gain, worst_labels

REASONS = 5  # reasons in a summary


@dataclass(frozen=True)
class GateOutcome:
    """The result of the gate.

    Args:
        worst: The worst value for each threshold that could be compared.
        unchecked: Why a threshold could not be compared with every example, one sentence each.
    """

    worst: tuple[WorstValue, ...]
    unchecked: tuple[str, ...]

    @property
    def exceeded(self) -> tuple[WorstValue, ...]:
        """The values that reach their threshold."""
        return tuple(one for one in self.worst if one.exceeded)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`."""
        exceeded = [
            {
                "measure": one.threshold.measure,
                "value": one.value if math.isfinite(one.value) else None,
                "threshold": one.threshold.value,
                "attack": one.finding.attack,
                "case": one.finding.case,
                "example": one.example,
                "line": one.line,
            }
            for one in self.exceeded
        ]
        return {"exceeded": exceeded, "unchecked": list(self.unchecked)}


def require_measurable(thresholds: Iterable[Threshold], modality: Modality, granted: Knowledge) -> None:
    """Check before a run that its cases will have every measure.

    Args:
        thresholds: The thresholds.
        modality: What the examples are.
        granted: What the adversary knows.

    Raises:
        AuditError: Examples of this modality do not have a measure, or the adversary is granted what it would infer.
    """
    for one in thresholds:
        known = ", ".join(measures_of(modality))
        if one.measure not in measures_of(modality):
            nouns = MEASURES[modality].nouns
            raise AuditError(f"fail-over {one.measure}: is not measured for {nouns}. Measures of {nouns}: {known}.")
        if one.measure == LABEL_ACCURACY and Knowledge.LABELS in granted:
            raise AuditError(
                f"fail-over {one.measure}: the labels are granted, so none is inferred. Remove LABELS from knowledge, "
                "or remove the threshold."
            )


def measures_of(modality: Modality) -> tuple[str, ...]:
    """Return the names of the measures that examples of a modality have."""
    counted = (name for name in COUNTED if name != IDENTIFIED or kind_of(modality).ranked)
    return (gain_name(MEASURES[modality]), LABEL_ACCURACY, *counted)


def check(
    findings: Sequence[Finding],
    thresholds: Mapping[str, Any] | Iterable[str | Threshold],
    run: RunRecord | None = None,
) -> tuple[WorstValue, ...]:
    """Return what reaches a threshold; an empty result means that every case was compared and reaches none.

    Args:
        findings: The findings, of one run or several.
        thresholds: Texts such as `psnr-gain=6dB`, values, or a mapping of measures to values.
        run: The record of the run, if it has to be complete.

    Raises:
        AuditError: A threshold is not one; or none is reached, but a case failed, was not computed or cannot be
            judged, or a threshold could not be checked.
    """
    read = read_thresholds(thresholds, "threshold")
    if not read:
        raise AuditError(f"threshold: none is given. Give at least one, such as {example_of('psnr-gain')}.")
    outcome = weigh(findings, read)
    if not outcome.exceeded:
        require_complete_judgement(findings, outcome, run)
    return outcome.exceeded


def require_complete_judgement(findings: Sequence[Finding], outcome: GateOutcome, run: RunRecord | None = None) -> None:
    """Raise `AuditError` if findings are no complete result: what was not judged has not passed.

    Args:
        findings: The findings.
        outcome: What their comparison gave.
        run: The record of their run, if it has to be complete.
    """
    planned = run.planned if run else len(findings)
    require_complete(run.failures if run else (), planned)
    if not findings:
        raise AuditError("no case was computed, so there is nothing to judge.")
    if len(findings) < planned:
        raise AuditError(f"{planned - len(findings)} of {planned} cases were not computed. Run the same command again.")
    reason = next(filter(None, (unjudged(findings, planned), *outcome.unchecked)), None)
    if reason:
        raise AuditError(reason)


def weigh(findings: Sequence[Finding], thresholds: Sequence[Threshold]) -> GateOutcome:
    """Compare the worst value of every measure with its threshold.

    A gain is that of the worst example over all attacks, clients and batches. An accuracy of labels is that of the
    worst case. A number of examples is counted for each configuration of the client, each example once; the worst
    configuration counts. Cases and examples that cannot be judged are left out, and `unchecked` names the examples.
    """
    judged = [finding for finding in findings if finding.scored and not finding.cannot_judge]
    found = examples(judged)
    certain = [leak for leak in found if leak.judgeable and not math.isnan(leak.gain)]
    worst, unchecked = [], []
    for one in thresholds:
        if one.measure == LABEL_ACCURACY:
            value, why = worst_labels(one, judged)
        elif one.measure in COUNTED:
            value, why = worst_count(one, certain)
        else:
            value, why = worst_gain(one, certain)
        worst += [value] if value else []
        unchecked += [f"fail-over {one.measure}: could not be checked: {why}"] if why else []
    bare = sum(not finding.scored and not finding.cannot_judge for finding in findings)
    if thresholds and bare:
        unchecked.append(
            f"{bare} of {formatting.count(len(findings), 'case')} cannot be compared: there are no scores."
        )
    if any(one.measure != LABEL_ACCURACY for one in thresholds):
        unchecked += _unjudged_examples(found, certain)
    return GateOutcome(tuple(worst), tuple(unchecked))


def worst_verdict(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict on the configuration of the client that leaks most; `findings` holds at least one."""
    labels = setting_labels(findings)
    groups = group(findings, lambda finding: labels[finding.case])
    verdicts = [judge(members.label, members.findings, examples(members.findings)) for members in groups]
    return max(verdicts, key=lambda verdict: verdict.severity)


def unjudged(findings: Sequence[Finding], total: int) -> str:
    """Return how many of `total` cases cannot be judged and why, in one line; an empty text if all can."""
    found = [finding for finding in deciding(findings) if finding.cannot_judge]
    if not found:
        return ""
    reasons = list(dict.fromkeys(f"{finding.attack}: {finding.cannot_judge}" for finding in found))
    more = f" And {len(reasons) - REASONS} more reasons." if len(reasons) > REASONS else ""
    return f"{len(found)} of {total} cases cannot be judged: {' '.join(reasons[:REASONS])}{more}"


def gate_facts(findings: Sequence[Finding]) -> dict[str, str | float]:
    """Return what a test report records about findings: the worst gain, the knowledge, the seed and the version."""
    facts: dict[str, str | float] = {}
    for measure in dict.fromkeys(finding.measure for finding in findings):
        gains = [leak.gain for leak in examples(findings) if leak.measure == measure and math.isfinite(leak.gain)]
        if gains:
            unit = f"_{measure.unit.lower()}" if measure.unit == "dB" else ""
            facts[f"worst_{measure.metric}_gain{unit}"] = round(max(gains), 4)
    if findings:
        worst = worst_verdict(findings)
        facts["verdict"] = f"{in_words(worst)} {naive(worst)}".rstrip()
    for name, values in (("knowledge", _knowledge(findings)), ("seed", [str(finding.seed) for finding in findings])):
        facts[name] = "; ".join(dict.fromkeys(values))
    return {**facts, "version": version_of("gradaudit")}


def _knowledge(findings: Sequence[Finding]) -> list[str]:
    return [", ".join(finding.knowledge) or "nothing" for finding in findings]


def _unjudged_examples(found: Sequence[Leak], certain: Sequence[Leak]) -> list[str]:
    keys = {leak.key for leak in found}
    left = keys - {leak.key for leak in certain}
    if not left:
        return []
    noun = formatting.share(len(left), len(keys), found[0].measure.noun)
    return [f"{noun} cannot be judged: the control is already as close as an attack could be, or a score is no number."]
