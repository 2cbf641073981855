"""Squared Euclidean distance between updates (DLG; Zhu et al., 2019, equation 4)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import Combination, squared_gap


@dataclass(frozen=True)
class Euclidean(Objective):
    """The squared Euclidean distance, Σ over all tensors of ||candidate - observed||².

    It depends on the update's scale.
    """

    independent: ClassVar[bool] = True

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return torch.stack([(c - o).pow(2).sum() for c, o in zip(candidate, observed, strict=True)]).sum()

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient, 2 (c - o); see `Matching.pull`."""
        value = squared_gap(candidate, observed)
        two = torch.full_like(value, 2.0)
        return Combination(value, two, -two, 4 * value)
