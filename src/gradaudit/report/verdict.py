"""The verdict: a documented rule from gains and identification to one sentence."""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from . import formatting
from .cases import RECOVERED_GAIN, TRACE_GAIN, Leak, worst_per_picture

CHANCE = 0.01


class Level(enum.IntEnum):
    """How much came back."""

    NOTHING = 0
    TRACES = 1
    RECOGNISABLE = 2


@dataclass(frozen=True)
class Verdict:
    """What the audit says about one configuration of the client.

    Args:
        setting: Name of the configuration.
        level: By the rule in `RULE`.
        headline: One or two words that open the sentence.
        sentence: The rest of it.
        details: Further lines, in smaller type.
        warnings: What the reader must know before believing the sentence.
        severity: Sorts verdicts, worst highest: the level, then the share recovered, then the mean gain.
    """

    setting: str
    level: Level
    headline: str
    sentence: str
    severity: tuple[float, ...]
    details: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


RULE = (
    f"A picture counts as recovered when it lies at least {RECOVERED_GAIN:.0f} dB closer to the truth than the control "
    "does and the truth is the nearest of all pictures in the gallery. Traces: none is recovered, but one lies at "
    f"least {TRACE_GAIN:.0f} dB closer than the control, or more are identified than chance allows (binomial, 1 %). "
    "For each picture the attack that got closest counts. The control is the mean of the source's pictures outside "
    "the batch: what a guess without the update scores."
)
NO_RANK = "Identification was not measured in every case; there the gain alone decides."


def judge(setting: str, found: Sequence[Leak]) -> Verdict:
    """The verdict on a client whose pictures leaked as `found`, worst case over attacks; `found` is not empty."""
    worst = worst_per_picture(found)
    recovered = [leak for leak in worst if leak.recovered]
    traces = _traces(worst, found)
    if recovered:
        level, headline, sentence = Level.RECOGNISABLE, "Recognisable:", _recognisable(recovered, len(worst))
    elif traces:
        level, headline, sentence = Level.TRACES, "Traces:", f"no picture came back whole, but {traces}."
    else:
        attacks = {leak.finding.attack_value for leak in found}
        source = "these attacks" if len(attacks) > 1 else "this attack"
        level, headline = Level.NOTHING, "Nothing recognisable"
        sentence = f"came back from {source}; that is no proof of privacy."
    severity = (level, len(recovered) / len(worst), sum(leak.gain for leak in worst) / len(worst))
    return Verdict(setting, level, headline, sentence, severity, _details(worst, found), _warnings(found))


def _recognisable(recovered: Sequence[Leak], pictures: int) -> str:
    psnr = sum(leak.psnr for leak in recovered) / len(recovered)
    gain = sum(leak.gain for leak in recovered) / len(recovered)
    mean = "mean " if len(recovered) > 1 else ""
    values = f"{mean}{formatting.decibels(psnr)}, {formatting.above_control(gain)}"
    return f"{formatting.share(len(recovered), pictures, 'picture')} came back ({values})."


def _traces(worst: Sequence[Leak], found: Sequence[Leak]) -> str:
    reasons = []
    best = max(leak.gain for leak in worst)
    if best >= TRACE_GAIN:
        reasons.append(f"the closest lies {formatting.above_control(best)}")
    ranked = [leak for leak in found if leak.rank is not None]
    identified = _identified(ranked)
    if identified and above_chance(identified, ranked):
        gallery = min(leak.finding.gallery for leak in ranked)
        reasons.append(f"{identified} of {len(worst)} could be told from {gallery} pictures")
    return formatting.listed(reasons)


def _identified(found: Sequence[Leak]) -> int:
    return len({leak.key for leak in found if leak.rank == 1})


def above_chance(identified: int, ranked: Sequence[Leak]) -> bool:
    """Whether blind guesses would identify so many pictures in at most 1 % of all audits.

    A guess hits with probability 1/N in a gallery of N, once per attack on the picture.
    """
    tries = Counter(leak.key for leak in ranked)
    gallery = min(leak.finding.gallery for leak in ranked)
    if gallery < 2:
        return False
    hit = 1 - (1 - 1 / gallery) ** max(tries.values())
    pictures = len(tries)
    below = sum(math.comb(pictures, k) * hit**k * (1 - hit) ** (pictures - k) for k in range(identified))
    return 1 - below <= CHANCE + 1e-12


def _details(worst: Sequence[Leak], found: Sequence[Leak]) -> tuple[str, ...]:
    closest = worst[0]
    place = f", {formatting.rank(closest.rank, closest.finding.gallery)}" if closest.rank is not None else ""
    gain = formatting.above_control(closest.gain)
    details = [f"Closest picture: {formatting.decibels(closest.psnr)}, {gain}{place}."]
    if len(worst) > 1 and any(leak.rank is not None for leak in found):
        details[0] += f" Identified: {_identified(found)} of {len(worst)}."
    attacks = {leak.finding.attack_value: leak.finding for leak in found}
    if len(attacks) > 1:
        details.append(f"Worst case over {len(attacks)} attacks; the closest came from {closest.finding.attack}.")
    inferred = [leak.finding for leak in found if not leak.finding.labels_granted]
    accuracies = [finding.label_accuracy for finding in inferred if finding.label_accuracy is not None]
    if accuracies:
        details.append(f"Labels inferred right: {formatting.percent(sum(accuracies) / len(accuracies))}.")
    return tuple(details)


def _warnings(found: Sequence[Leak]) -> tuple[str, ...]:
    idle = dict.fromkeys(name for leak in found for name in leak.finding.no_op_defenses)
    return tuple(f"{name} did not change the update: read this as the result of a client without it." for name in idle)
