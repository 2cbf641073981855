"""Sum of the layers' Euclidean distances (Yin et al., 2021, equation 2; Hatamizadeh et al., 2022, equation 2)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import Combination


@dataclass(frozen=True)
class LayerwiseEuclidean(Objective):
    """The sum of the tensors' Euclidean distances, or of their squares; it depends on the update's scale.

    It is `scale` · Σ over the tensors of ||candidate - observed||_2, or of its square. GradInversion writes the
    distances without a square; later implementations square them. Without the square, each tensor contributes a
    gradient of L2 norm one, whatever its distance. The slope at a distance of zero is zero.

    Args:
        scale: Factor of the sum, relative to the weights of the priors (α_G of GradInversion).
        squared: Whether to sum the squares, which is `Euclidean` with a scale.
    """

    independent: ClassVar[bool] = True
    scale: float = 1.0
    squared: bool = False

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        squares = torch.stack([(c - o).pow(2).sum() for c, o in zip(candidate, observed, strict=True)])
        return self.scale * (squares if self.squared else _lengths(squares)).sum()

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient; see `Matching.pull`.

        It is scale · (c - o) / ||c - o||, or 2 · scale · (c - o) for squared distances.
        """
        squares = torch.stack([(c - o).pow(2).sum() for c, o in zip(candidate, observed, strict=True)])
        lengths = _lengths(squares)
        factors = self.scale * (torch.full_like(lengths, 2.0) if self.squared else 1 / lengths)
        value = self.scale * (squares if self.squared else lengths).sum()
        return Combination(value, factors, -factors, (factors * factors * squares).sum())


def _lengths(squares: Tensor) -> Tensor:
    """Return the square roots, clamped to stay positive, with a finite slope at zero."""
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
