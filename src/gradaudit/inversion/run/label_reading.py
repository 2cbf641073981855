"""Run a label inference on an update, without an attack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...protocol.local_training import rules_of
from ...protocol.observation import Observation
from ...values.chance import seeded
from ...values.errors import AttackFailed, MissingKnowledge
from ..parts.label_values import LabelInference
from ..parts.labels import LABELS
from .refusal import require_knowledge


@dataclass(frozen=True, eq=False)
class LabelReading:
    """The result of one label inference on one update.

    Args:
        method: Name of the method in `LABELS`.
        classes: K.
        applies: Whether the method could be used; if false, the fields below are `None`.
        why_not: One sentence with the reason if it could not.
        labels: `[L]` integers, ascending; fewer than the batch size if the method found fewer.
        counts: `[K]`, examples per class (fractions for soft labels), or `None` if the method says only which classes
            are present.
        soft: `[B, K]` probabilities, if the method infers soft labels.
        confidence: In [0, 1], comparable between updates under one method.
        notes: Sentences about what was found.
    """

    method: str
    classes: int
    applies: bool
    why_not: str | None = None
    labels: Tensor | None = None
    counts: Tensor | None = None
    soft: Tensor | None = None
    confidence: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def tally(self) -> Tensor | None:
        """`[K]` for the metrics: the counts, or each class found once; `None` if the method does not apply."""
        if self.counts is not None or self.labels is None:
            return self.counts
        return torch.bincount(self.labels, minlength=self.classes)


def read_labels(part: LabelInference | str, seen: Observation, *, seed: int = 0) -> LabelReading:
    """Infer the labels of an update with one method.

    If the method does not apply, the result says why, without an error.

    Args:
        part: A method with its settings, or its name in `LABELS`.
        seen: What the adversary sees; it is not changed.
        seed: Seed of the method's random inputs; the global random state is not changed.
    """
    part = LABELS[part]() if isinstance(part, str) else part
    method = next((name for name, cls in LABELS.items() if cls is type(part)), type(part).__name__)
    try:
        require_knowledge(method, (part,), seen.knowledge)
        with seeded(seed, seen.device):
            found = part.read(seen)
    except (AttackFailed, MissingKnowledge) as reason:
        classes = seen.classes if rules_of(seen.loss).inferable else 0
        return LabelReading(method, classes, applies=False, why_not=str(reason))
    return LabelReading(
        method,
        seen.classes,
        applies=True,
        labels=found.values,
        counts=found.counts,
        soft=found.soft,
        confidence=found.confidence,
        notes=found.notes,
    )
