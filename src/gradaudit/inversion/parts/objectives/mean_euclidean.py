"""Mean squared Euclidean distance of the tensors of an update (GGL; Li et al., 2022)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import Combination, squared_gap


@dataclass(frozen=True)
class MeanEuclidean(Objective):
    """The mean over the L tensors of their squared Euclidean distance, (1/L) Σ ||candidate - observed||².

    GGL (arXiv:2203.15696) divides by the number of tensors, so that the weight of its prior suits networks of any
    depth. It depends on the update's scale.
    """

    independent: ClassVar[bool] = True

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return torch.stack([(c - o).pow(2).sum() for c, o in zip(candidate, observed, strict=True)]).mean()

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient, 2 (c - o) / L; see `Matching.pull`."""
        value = squared_gap(candidate, observed) / len(observed)
        two = torch.full_like(value, 2.0 / len(observed))
        return Combination(value, two, -two, two * two * len(observed) * value)
