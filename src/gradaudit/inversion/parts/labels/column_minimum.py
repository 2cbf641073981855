"""GradInversion's labels: rows of the last layer's gradient with the lowest entry (Yin et al., 2021)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ....client.observation import Observation
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import present
from ._head import double_head
from ._probe import require_nonnegative_features


@dataclass(frozen=True)
class ColumnMinimum(LabelInference):
    """The B classes with the lowest entry in their row, each once (Yin et al., arXiv:2104.07586, label restoration).

    ŷ = argsort_k(min_j ∂L/∂W_kj)[:B]: where features are never negative, only an example of class k can pull an entry
    of row k below zero. Repeated labels are beyond the rule: it knows sets.

    Deviation: the paper takes B classes whatever their signs, and so fills up a batch with repeated labels with classes
    that are not there; here a row without a negative entry is no label, and fewer labels come back.

    Args:
        strict: Name only classes that the rule can tell. Without it the rule is the paper's: B classes, or all K where
            there are fewer, on any features, with a note where some have no negative entry.
    """

    name: ClassVar[str] = "gradinversion"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    strict: bool = True

    def read(self, seen: Observation) -> Labels:
        """At most B classes. Raises `AttackFailed` where it is strict and features can be negative."""
        size = require_batch_size(seen, self)
        lowest = double_head(seen).weight.min(1).values
        negative = lowest < -torch.finfo(torch.float32).tiny
        if self.strict:
            require_nonnegative_features(seen)
            return present(seen, lowest, negative)
        chosen = torch.zeros_like(negative).index_fill(0, lowest.argsort()[:size], True)
        found, guessed = present(seen, lowest, chosen), int((chosen & ~negative).sum())
        if not guessed:
            return found
        verb = "classes were named that have" if guessed > 1 else "class was named that has"
        return replace(found, notes=(*found.notes, f"{guessed} {verb} no negative entry: some label repeats."))
