"""The distance of GRNN (Ren, Deng & Xie, 2022, doi:10.1145/3510032)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import Combination, squared_gap


@dataclass(frozen=True)
class SquaredPlusPlain(Objective):
    """GRNN's distance: the squared plus the plain Euclidean distance of the updates.

    It is ||d||² + ||d|| for d = candidate - observed, all tensors in one vector. The second term is what GRNN calls a
    Wasserstein distance: between two single vectors, as in its code, that is their Euclidean distance. It prevents the
    slope from vanishing near the ground truth; at d = 0 the gradient is set to 0.
    """

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        distance = torch.stack([(c - o).norm() for c, o in zip(candidate, observed, strict=True)]).norm()
        return distance.square() + distance

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient, (2 + 1 / ||d||) d; see `Matching.pull`."""
        squares = squared_gap(candidate, observed)
        distance = squares.sqrt()
        factor = 2 + 1 / distance.clamp_min(torch.finfo(distance.dtype).tiny)
        factor = torch.where(distance > 0, factor, torch.full_like(factor, 2.0))
        return Combination(squares + distance, factor, -factor, factor.square() * squares)
