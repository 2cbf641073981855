"""The verdict: a documented rule that turns gains and identification ranks into one sentence."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.special import bdtrc

from ..metrics import METRICS
from ..values.deciding import deciding, refusals
from ..values.finding import Finding
from . import formatting
from . import wording as words
from .cases import Leak, worst_per_picture
from .reference_clients import standing

CHANCE = 0.01
CANNOT = "Cannot be judged:"


class Severity(enum.IntEnum):
    """How much was recovered, least first."""

    NOTHING = 0
    UNKNOWN = 1
    TRACES = 2
    RECOGNISABLE = 3

    @property
    def tone(self) -> str:
        """The suffix of its class in the style sheet."""
        return {Severity.NOTHING: "0", Severity.UNKNOWN: "unknown", Severity.TRACES: "1", Severity.RECOGNISABLE: "2"}[
            self
        ]


@dataclass(frozen=True)
class Verdict:
    """The result of the audit for one configuration of the client.

    Args:
        setting: Name of the configuration.
        level: By the rule of its modality.
        headline: One or two words that open the sentence.
        sentence: The rest of the sentence.
        details: Further lines, in smaller type.
        warnings: What the reader must know before relying on the sentence.
        alarms: What the reader must know first, in red: oracles that no real adversary has, and faults of the data.
        severity: Sort key, worst highest: the level, then the share recovered, then the mean gain.
    """

    setting: str
    level: Severity
    headline: str
    sentence: str
    severity: tuple[float, ...]
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


UNJUDGED = (
    "A case cannot be judged if the update holds nothing, the attack could not run on it, or the control is already so "
    "close that no attack could be told from it. That is not a sign that nothing leaks."
)
UNSCORED = (
    "Without the private examples there is no score. A reconstruction is verified if the update recomputed from it "
    "equals the captured one up to 0.1 %. One that is not verified may still show the private examples: look at it. "
    "That nothing can be seen in it is not a sign that nothing leaks."
)
NAIVE = (
    "No attack was adapted to the defense, so this does not say that the defense protects. Add DEFENSE to knowledge."
)
UNJUDGED = "No attack that was adapted to the defense can be judged, so this does not say that the defense protects."
NO_RANK = "Identification was not measured in every case; there, the gain alone decides."


def judge(setting: str, findings: Sequence[Finding], found: Sequence[Leak]) -> Verdict:
    """Return the verdict on one configuration of the client, the worst case over attacks.

    Args:
        setting: Name of the configuration.
        findings: Its findings, at least one.
        found: The leaks of these findings.
    """
    found = [leak for leak in found if leak.judgeable]
    refused, findings = refusals(findings), deciding(findings)
    told, warnings = words.warning(findings[0].knowledge), _warnings(findings)
    alarms = (*([told] if told else []), *_once(line for finding in findings for line in finding.warnings))
    if not found and any(finding.unscored for finding in findings):
        return _returned(setting, findings, warnings, alarms)
    if not found:
        return Verdict(
            setting, Severity.UNKNOWN, CANNOT, _why(findings), (Severity.UNKNOWN, 0, 0), (), warnings, alarms
        )
    worst = worst_per_picture(found)
    recovered = [leak for leak in worst if leak.recovered]
    traces = _traces(worst, found)
    if recovered:
        level, headline, sentence = Severity.RECOGNISABLE, "Recognisable:", _recognisable(recovered, len(worst))
    elif traces:
        sentence = f"no {worst[0].measure.noun} was recovered, but {traces}."
        level, headline = Severity.TRACES, "Traces:"
    elif any(finding.cannot_judge for finding in findings):
        level, headline, sentence = (
            Severity.UNKNOWN,
            CANNOT,
            f"{_why(findings)} The cases that could be judged recovered nothing recognisable.",
        )
    else:
        attacks = {leak.finding.attack_value for leak in found}
        source = "these attacks" if len(attacks) > 1 else "this attack"
        level, headline = Severity.NOTHING, "Nothing recognisable"
        sentence = f"was recovered by {source}; that is not a proof of privacy."
    severity = (level, len(recovered) / len(worst), sum(leak.gain for leak in worst) / len(worst))
    details = (*_details(worst, found), *filter(None, (standing(findings, found), *refused)))
    return Verdict(setting, level, headline, sentence, severity, details, warnings, alarms)


def in_words(verdict: Verdict) -> str:
    """Return a verdict as one line."""
    return f"{verdict.setting}: {verdict.headline} {verdict.sentence}"


def naive(verdict: Verdict) -> str:
    """Return why a verdict below `Recognisable` says little of a defense to which no attack was adapted, or ""."""
    said = (warning for warning in verdict.warnings if warning in (NAIVE, UNJUDGED))
    return "" if verdict.level is Severity.RECOGNISABLE else next(said, "")


def _returned(setting: str, findings: Sequence[Finding], warnings: tuple[str, ...], alarms: tuple[str, ...]) -> Verdict:
    """Return the verdict on findings without ground truth: they have no score, but a verified one is a proof."""
    came = [finding for finding in findings if finding.unscored]
    proofs, noun = [finding for finding in came if finding.proof], came[0].measure.noun
    closest = min(came, key=lambda finding: math.inf if math.isnan(finding.objective) else finding.objective)
    details = [f"Objective {formatting.scientific(closest.objective)} by {closest.attack}."]
    details += words.stated_labels(came)
    if proofs:
        most = formatting.count(max(finding.examples for finding in proofs), f"reconstructed {noun}")
        attacks = formatting.listed(_once(finding.attack for finding in proofs))
        level, headline = Severity.RECOGNISABLE, "Proof of a leak:"
        sentence = (
            f"the update recomputed from {most} ({attacks}) equals the captured one. How close they are to the private "
            f"{noun}s cannot be scored without these."
        )
    else:
        level, headline = Severity.UNKNOWN, "Cannot be scored"
        sentence = f"without the private {noun}s. What came back is in the report; that is not an all-clear."
    return Verdict(setting, level, headline, sentence, (level, bool(proofs), 0), tuple(details), warnings, alarms)


def _why(findings: Sequence[Finding]) -> str:
    """Return each reason once, with the names of the attacks it concerns if it does not concern all."""
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.cannot_judge:
            reasons.setdefault(finding.cannot_judge, []).append(finding.attack)
    if len(reasons) == 1 and all(finding.cannot_judge for finding in findings):
        return next(iter(reasons))
    return " ".join(f"{formatting.listed(_once(names))}: {reason}" for reason, names in reasons.items())


def _recognisable(recovered: Sequence[Leak], examples: int) -> str:
    measure = recovered[0].measure
    value = sum(leak.value for leak in recovered) / len(recovered)
    gain = sum(leak.gain for leak in recovered) / len(recovered)
    mean = "mean " if len(recovered) > 1 else ""
    values = f"{mean}{measure.prefix}{formatting.measured(value, measure)}, {formatting.above_control(gain, measure)}"
    were = "were" if len(recovered) > 1 else "was"
    return f"{formatting.share(len(recovered), examples, measure.noun)} {were} recovered ({values})."


def _traces(worst: Sequence[Leak], found: Sequence[Leak]) -> str:
    reasons = []
    best = max(leak.gain for leak in worst)
    measure = worst[0].measure
    if best >= measure.trace_gain:
        reasons.append(f"the closest is {formatting.above_control(best, measure)}")
    for metric in measure.also:
        gain = max(leak.gain_of(metric) or 0.0 for leak in found)
        if gain >= measure.trace_gain:
            reasons.append(
                f"the {METRICS[metric].name} of one {measure.noun} is {formatting.above_control(gain, measure)}"
            )
    ranked = [leak for leak in found if leak.rank is not None]
    identified = _identified(ranked)
    if identified and above_chance(identified, ranked):
        gallery = min(leak.finding.gallery for leak in ranked)
        reasons.append(f"{identified} of {len(worst)} were identified among {gallery} {worst[0].measure.nouns}")
    return formatting.listed(reasons)


def _identified(found: Sequence[Leak]) -> int:
    return len({leak.key for leak in found if leak.rank == 1})


def above_chance(identified: int, ranked: Sequence[Leak]) -> bool:
    """Return whether blind guesses would identify that many images in at most 1 % of all audits.

    A guess is right with probability 1/N in a gallery of N images, once per attack on the image.
    """
    tries = Counter(leak.key for leak in ranked)
    gallery = min(leak.finding.gallery for leak in ranked)
    if gallery < 2:
        return False
    hit = 1 - (1 - 1 / gallery) ** max(tries.values())
    return bool(bdtrc(identified - 1, len(tries), hit) <= CHANCE + 1e-12)


def _details(worst: Sequence[Leak], found: Sequence[Leak]) -> tuple[str, ...]:
    closest = worst[0]
    place = f", {formatting.rank(closest.rank, closest.finding.gallery)}" if closest.rank is not None else ""
    measure = closest.measure
    gain = formatting.above_control(closest.gain, measure)
    details = [f"Closest {measure.noun}: {measure.prefix}{formatting.measured(closest.value, measure)}, {gain}{place}."]
    if len(worst) > 1 and any(leak.rank is not None for leak in found):
        details[0] += f" Identified: {_identified(found)} of {len(worst)}."
    attacks = {leak.finding.attack_value: leak.finding for leak in found}
    batteries = _once(finding.battery for finding in attacks.values() if finding.battery)
    if len(attacks) > 1 or batteries:
        many = f"orst case over {formatting.count(len(attacks), 'attack')}"
        head = f"Battery {formatting.listed(batteries)}: w{many}" if batteries else f"W{many}"
        named = sum(not finding.battery for finding in attacks.values())
        also = f", {named} of them named beside it" if batteries and named else ""
        details.append(f"{head}{also}; the closest reconstruction is by {closest.finding.attack}.")
    inferred = [leak.finding for leak in found if not leak.finding.labels_granted]
    accuracies = [finding.label_accuracy for finding in inferred if finding.label_accuracy is not None]
    if accuracies:
        details.append(f"Labels inferred correctly: {formatting.percent(sum(accuracies) / len(accuracies))}.")
    return tuple(details)


def _warnings(findings: Sequence[Finding]) -> tuple[str, ...]:
    unjudged, warnings = [finding for finding in findings if finding.cannot_judge], []
    if unjudged and len(unjudged) < len(findings):
        warnings.append(f"{len(unjudged)} of {formatting.count(len(findings), 'case')} cannot be judged.")
    judged = [finding for finding in findings if not finding.cannot_judge]
    close = sum(not fine for finding in judged for fine in finding.judgeable)
    if close:
        noun = formatting.count(close, findings[0].measure.noun)
        warnings.append(f"{noun} cannot be judged: the control is already as close as an attack could be.")
    idle = _once(name for finding in findings for name in finding.no_op_defenses)
    warnings += (f"{name} did not change the update, so this is the result of a client without it." for name in idle)
    if findings[0].defended and not any(finding.adaptive for finding in judged):
        warnings.append(UNJUDGED if any(finding.adaptive for finding in findings) else NAIVE)
    return tuple(warnings)


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
