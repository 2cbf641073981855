"""Gaussian noise on the gradient (Yin et al., 2021, section 3.4)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..part import GradientTransform, Progress


@dataclass(frozen=True)
class Noise(GradientTransform):
    """A gradient transform that adds N(0, std²) to every entry.

    Args:
        std: Standard deviation, in units of the gradient.
    """

    example: ClassVar[tuple[Any, ...]] = (0.1,)
    std: float

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        return gradient + self.std * torch.randn_like(gradient)
