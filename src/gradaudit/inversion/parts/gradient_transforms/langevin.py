"""Langevin noise on the gradient, which fades with the learning rate (Yin et al., 2021, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..part import GradientTransform, Progress


@dataclass(frozen=True)
class Langevin(GradientTransform):
    """A gradient transform that adds `scale` · lr(t) · N(0, 1) to every entry, with lr(t) the step's learning rate.

    The noise lets candidates leave poor minima early in the run.

    Args:
        scale: α_n of the paper, 0.2; the benchmark library breaching uses 0.01.
    """

    scale: float = 0.2

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        return gradient + self.scale * at.lr * torch.randn_like(gradient)
