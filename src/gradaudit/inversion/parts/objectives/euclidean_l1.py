"""Squared Euclidean distance plus a share of the absolute differences (TAG; Deng et al., 2021, equation 5)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress


@dataclass(frozen=True)
class EuclideanL1(Objective):
    """The squared Euclidean distance plus a share of the absolute differences.

    It is Σ over all tensors of ||c - o||² + alpha * ||c - o||_1, and depends on the scale of the update.

    Args:
        alpha: Weight of the absolute differences, the same for every tensor (in the paper it falls with the depth).
    """

    alpha: float = 0.01

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        gaps = [c - o for c, o in zip(candidate, observed, strict=True)]
        return torch.stack([gap.pow(2).sum() + self.alpha * gap.abs().sum() for gap in gaps]).sum()
