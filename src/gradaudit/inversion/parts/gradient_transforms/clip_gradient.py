"""Bound the L2 norm of the gradient (TAG and LAMP clip the gradient of the embeddings to norm 1)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..part import GradientTransform, Progress


@dataclass(frozen=True)
class ClipGradient(GradientTransform):
    """A gradient transform that scales each seed's gradient down to L2 norm `norm` if its norm is larger.

    Args:
        norm: Largest L2 norm, positive.
    """

    example: ClassVar[tuple[Any, ...]] = (1.0,)
    independent: ClassVar[bool] = True

    norm: float

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        length = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        return gradient * (self.norm / length).clamp_max(1).view(-1, *[1] * (gradient.ndim - 1))
