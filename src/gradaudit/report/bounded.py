"""The bounds beside the attacks: what no attack exceeds where noise of known size protects the update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from ..metrics.bounds import from_scratch_psnr, identification_bound
from ..values.protection import CalibratedNoise, Protection
from . import formatting
from .cases import CaseGroup, group
from .corridor import Corridor, draw
from .effect_table import protections
from .tally import Tally

NO_BOUND = "No bound: this defense has no guarantee."
NOT_RECORDED = "No bound: the defenses of this run are not recorded."
UNDECLARED = "No bound: no defense is declared for the captured update."
BESIDE = {
    "BATCH_STATISTICS": "the BatchNorm statistics of the batch",
    "IMAGE_STATISTICS": "channel means and edges of the images",
}
"""Facts about the private examples that reach the adversary beside the update, without its noise."""
LABELLED = "; the labels were granted, and where those of the images differ they identify without the update"
NO_LIMIT = 0.9995  # probability that is shown as 100 %
RARELY = 0.05  # probability for which the PSNR without prior knowledge is stated


@dataclass(frozen=True)
class BoundRow:
    """One bound, or one ratio, with what was measured beside it.

    Args:
        what: What is bounded.
        bound: The bound, or the ratio.
        measured: What this audit measured.
        kind: `bound` or `ratio`.
    """

    what: str
    bound: str
    measured: str
    kind: str = "bound"


@dataclass(frozen=True)
class BoundedClient:
    """The bounds of one configuration.

    Args:
        label: Name of the configuration.
        summary: The noise in words, or why there is no bound.
        rows: The bounds with what was measured.
        corridor: The drawing, or `None`.
    """

    label: str
    summary: str
    rows: tuple[BoundRow, ...] = ()
    corridor: Markup | None = None


def bounded_clients(found: Sequence[Tally]) -> tuple[BoundedClient, ...]:
    """Return the bounds of all configurations with a defense, in the given order."""
    return tuple(_client(tally) for tally in found if tally.defended)


def _client(tally: Tally) -> BoundedClient:
    known = protections(tally.findings)
    if not known:
        return BoundedClient(tally.label, NOT_RECORDED)
    labels = tuple(_label_row(tally, known))
    noise, why = _noise(tally, known)
    if noise is None:
        return BoundedClient(tally.label, why, labels)
    length, size = min((one.length for one in known if one.length), default=0.0), known[0].size
    top = identification_bound(gallery, noise.multiplier, noise.steps) if (gallery := _gallery(tally)) else None
    rows = [] if top is None else [_identification_row(tally, gallery, top)]
    corridor = None
    if length and tally.worst:
        corridor = _corridor(tally, noise, top, length, size)
        rows.append(_psnr_row(corridor))
    declared = any(one.unknown for one in known)
    drawing = None if corridor is None else draw(corridor)
    return BoundedClient(tally.label, _words(noise, declared=declared), (*rows, *labels), drawing)


def _noise(tally: Tally, known: Sequence[Protection]) -> tuple[CalibratedNoise | None, str]:
    """Return the calibrated noise of a configuration, or `None` and why no bound holds."""
    first = known[0]
    if first.noise is None:
        return None, f"{NO_BOUND} {first.why_not}" if first.why_not else UNDECLARED
    beside = [text for fact, text in BESIDE.items() if fact in tally.findings[0].knowledge]
    if first.buffers:
        beside.append("the buffers of the model")
    if beside:
        named = formatting.listed(beside)
        return None, f"{NO_BOUND} {named[0].upper()}{named[1:]} reach the adversary without noise."
    return first.noise, ""


def _words(noise: CalibratedNoise, *, declared: bool) -> str:
    whose = "one clipped example"
    if noise.unit == "client":
        whose = "the clipped update, and with it of every example in it"
    times = "" if noise.steps == 1 else f", in each of {noise.steps} steps"
    as_declared = " This is as declared for the captured update." if declared else ""
    return (
        f"Noise multiplier {formatting.scientific(noise.multiplier)}: the standard deviation of the Gaussian noise "
        f"over the largest norm of {whose}{times}.{as_declared}"
    )


def _gallery(tally: Tally) -> int:
    """Return the number of images among which an example was identified, the smallest; 0 if none was."""
    return min((leak.finding.gallery for leak in tally.ranked), default=0)


def _identification_row(tally: Tally, gallery: int, top: float) -> BoundRow:
    scored = [one for one in tally.findings if one.scored]
    rates = [_identified(members) for members in group(scored, lambda one: one.attack)]
    hits, examples, attack = max(rates, key=lambda rate: rate[0] / rate[1])
    share = f"{formatting.share(hits, examples, tally.measure.noun)} ({formatting.percent(hits / examples)})"
    more = " by the best attack" if len(rates) > 1 else ""
    above = "; more than the bound, which few examples can reach by chance" if hits / examples > top else ""
    known = "LABELS" in tally.findings[0].knowledge
    return BoundRow(
        f"identification among {gallery} equally likely {tally.measure.nouns}{' of one label' if known else ''}",
        f"at most {formatting.number(100 * top, 1)} %{': no limit' if top >= NO_LIMIT else ''}",
        f"{share}{more}, {attack}{above}{LABELLED if known else ''}",
    )


def _identified(members: CaseGroup) -> tuple[int, int, str]:
    """Return how many examples one attack identified, of how many, and its name."""
    places = [place for one in members.findings if one.scores.rank for place in one.scores.rank.per_example]
    return sum(place == 1 for place in places), max(len(places), 1), members.label


def _corridor(tally: Tally, noise: CalibratedNoise, top: float | None, length: float, size: int) -> Corridor:
    measured = tuple((leak.value, leak.recovered) for leak in tally.worst)
    guess = max(leak.of(leak.finding.measured_control) or 0.0 for leak in tally.worst)
    return Corridor(top, noise.multiplier, noise.steps, length, size, measured, guess)


def _psnr_row(corridor: Corridor) -> BoundRow:
    reached = from_scratch_psnr(RARELY, corridor.multiplier, corridor.length, corridor.size, corridor.steps)
    highest = max(value for value, _ in corridor.measured)
    none = ", less than a guess" if reached < corridor.guess else ""
    return BoundRow(
        "PSNR without prior knowledge",
        f"1 of {round(1 / RARELY)} attempts reaches {formatting.decibels(reached)}{none}",
        f"highest {formatting.decibels(highest)}; a guess without the update reaches "
        f"{formatting.decibels(corridor.guess)}",
    )


def _label_row(tally: Tally, known: Sequence[Protection]) -> list[BoundRow]:
    """Return the row of the labels' signal-to-noise, where it is known."""
    ratios = [one.label_ratios for one in known if one.label_ratios is not None]
    if not ratios:
        return []
    low, high = (formatting.scientific(end) for end in (min(r[0] for r in ratios), max(r[1] for r in ratios)))
    said = [one for one in tally.findings if one.label_accuracy is not None and not one.labels_granted]
    best = max((one.label_accuracy or 0.0 for one in said), default=None)
    granted = any(one.labels_granted for one in tally.findings)
    measured = "the labels were granted" if granted else "no attack inferred the labels"
    measured = measured if best is None else f"at most {formatting.percent(best)} of the labels inferred by one attack"
    spread = low if low == high else f"{low} to {high}"
    what = "label signal-to-noise of the classes of the batch"
    return [BoundRow(what, f"{spread} standard deviations", measured, "ratio")]
