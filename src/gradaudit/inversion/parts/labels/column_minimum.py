"""GradInversion's label inference: the rows of the last layer's gradient with the lowest entries (Yin et al., 2021)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ....protocol.observation import Observation
from ....values.types import Knowledge
from ..label_values import LabelInference, Labels
from ..part import require_batch_size
from ._counting import present
from ._head import double_head
from ._probe import require_nonnegative_features


@dataclass(frozen=True)
class ColumnMinimum(LabelInference):
    """The B classes with the lowest entry in their row, each once (Yin et al., arXiv:2104.07586, label restoration).

    ŷ = argsort_k(min_j ∂L/∂W_kj)[:B]: if features are never negative, only an example of class k can make an entry of
    row k negative. The rule infers sets and cannot find repeated labels.

    Deviation: the paper takes B classes whatever their signs, and so fills a batch that has repeated labels with absent
    classes. Here a row without a negative entry is not a label, and fewer labels are returned.

    Args:
        strict: Whether to name only classes that the rule can infer. If false the rule is the paper's: B classes, or
            all K if there are fewer, on any features, with a note if some have no negative entry.
    """

    name: ClassVar[str] = "gradinversion"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    strict: bool = True

    def read(self, seen: Observation) -> Labels:
        """Return at most B classes. Raise `AttackFailed` if `strict` is true and features can be negative."""
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
