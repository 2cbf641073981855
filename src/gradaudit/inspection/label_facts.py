"""Labels and counts by every method that applies, and the answer on which the methods agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ..inversion.parts.label_values import LabelInference
from ..inversion.parts.labels import LABELS
from ..inversion.parts.labels._head import signed_head
from ..inversion.run.label_reading import LabelReading, read_labels
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge
from .facts import LabelFacts, Reading, SignFact

LARGE = 3 * 64 * 64  # size of an example from which the probing methods use fewer samples
FEWER = 16
OTHER_LOSS = (
    "the last layer's gradients do not sum to zero over the classes, so the loss was not cross-entropy (or its labels "
    "were not probabilities), and no method here supports another loss"
)


def read_or_why_not(
    seen: Observation, batch_size: int | None, undirected: str, signs: Sequence[SignFact]
) -> tuple[LabelFacts | None, str]:
    """Return the results of the label inferences, or `None` and the reason why none ran, without a full stop.

    Args:
        seen: The observation.
        batch_size: As given, or derived from the update.
        undirected: Why the sign of the update is unknown, or an empty string.
        signs: Signs of a defense, which also tell whether the loss was another one.
    """
    if undirected:
        return None, undirected
    if any(sign.other_loss for sign in signs):
        return None, OTHER_LOSS
    try:
        signed_head(seen)
    except AttackFailed as reason:
        return None, str(reason).rstrip(".")
    facts = label_facts(seen, batch_size, seen.batch_size is None and batch_size is not None)
    if facts.applying:
        return facts, ""
    reasons = dict.fromkeys((reading.why_not or "").split(". ")[0].rstrip(".") for reading in facts.readings)
    return None, f"no label inference applies: {'; '.join([*reasons][:3])}"


def label_facts(seen: Observation, batch_size: int | None, read: bool) -> LabelFacts:
    """Run every label inference and compare the answers.

    Args:
        seen: The observation.
        batch_size: The batch size to use, or `None`.
        read: Whether the batch size was derived from the update.
    """
    if batch_size is not None and seen.batch_size is None:
        seen = replace(seen, batch_size=batch_size, knowledge=seen.knowledge | Knowledge.BATCH_SIZE)
    found = [(part, read_labels(part, seen)) for part in _methods(seen)]
    readings = tuple(_reading(part, reading, seen.knowledge) for part, reading in found)
    consensus, agreement, agreeing = agree(readings)
    return LabelFacts(
        classes=seen.classes,
        batch_size=batch_size,
        batch_size_read=read,
        readings=readings,
        consensus=consensus,
        agreement=agreement,
        agreeing=agreeing,
        applying=sum(reading.applies for reading in readings),
        repeats=any(reading.says in ("counts", "soft labels") for reading in readings),
    )


def agree(readings: Sequence[Reading]) -> tuple[dict[int, int], float, int]:
    """Return the answer that overlaps most with all others.

    Methods that count are compared by counts, methods that only know the classes by the classes. The consensus is the
    answer of one method, of a counting method if there is one; the earlier method wins a tie.

    Returns:
        Class -> count, the mean overlap in [0, 1], and the number of methods that give exactly this answer.
    """
    speaking = [reading for reading in readings if reading.applies and reading.counts]
    counting = [reading for reading in speaking if reading.says != "classes"]
    if not speaking:
        return {}, 0.0, 0
    overlaps = [
        (sum(_overlap(mine, other) for other in speaking) / len(speaking), mine) for mine in counting or speaking
    ]
    agreement, best = max(overlaps, key=lambda pair: pair[0])
    consensus = {label: max(1, round(amount)) for label, amount in sorted(best.counts.items())}
    exact = sum(_overlap(best, other) > 1 - 1e-6 for other in speaking)
    return consensus, agreement, exact


def _overlap(one: Reading, other: Reading) -> float:
    """Return the share of common labels of two answers, in [0, 1]; by classes if one of them has no counts."""
    mine, theirs = one.counts, other.counts
    if "classes" in (one.says, other.says):
        mine, theirs = dict.fromkeys(mine, 1), dict.fromkeys(theirs, 1)
    common = sum(min(mine.get(label, 0), theirs.get(label, 0)) for label in {*mine, *theirs})
    return common / max(sum(mine.values()), sum(theirs.values()), 1e-12)


def _methods(seen: Observation) -> list[LabelInference]:
    """Return all methods that infer labels, with fewer probes if an example is large."""
    size = 1
    for side in seen.input_shape:
        size *= side
    parts = []
    for cls in LABELS.values():
        if not cls.infers or cls.read is LabelInference.read:
            continue
        part = cls()
        if size > LARGE and "samples" in vars(part):
            part = replace(part, samples=FEWER)
        parts.append(part)
    return parts


def _reading(part: LabelInference, reading: LabelReading, granted: Knowledge) -> Reading:
    if not reading.applies:
        return Reading(reading.method, False, lacks=(part.needs & ~granted).names, why_not=reading.why_not)
    if reading.soft is not None and not _one_hot(reading.soft):
        says, counts = "soft labels", _soft(reading.soft)
    elif reading.counts is not None:
        says, counts = "counts", {k: float(round(float(v))) for k, v in enumerate(reading.counts) if round(float(v))}
    else:
        says, counts = "classes", dict.fromkeys(_sorted(reading.labels), 1.0)
    confidence = None if reading.confidence is None else float(reading.confidence)
    return Reading(reading.method, True, says, counts, confidence, notes=reading.notes)


def _one_hot(soft: Tensor) -> bool:
    return bool(((soft < 1e-2) | (soft > 1 - 1e-2)).all())


def _soft(soft: Tensor) -> Mapping[int, float]:
    return {k: round(float(v), 4) for k, v in enumerate(soft.sum(0)) if float(v) > 5e-3}


def _sorted(labels: Tensor | None) -> list[int]:
    return sorted(Counter(labels.tolist())) if labels is not None else []
