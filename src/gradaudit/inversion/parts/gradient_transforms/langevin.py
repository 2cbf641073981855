"""Noise that fades with the learning rate, so that a guess leaves poor minima early (Yin et al., 2021, section 3.4)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..part import GradientTransform, Progress


@dataclass(frozen=True)
class Langevin(GradientTransform):
    """Adds `scale` · lr(t) · N(0, 1) to every entry, with lr(t) the learning rate of the step.

    Args:
        scale: α_n of the paper, 0.2; the benchmark library breaching takes 0.01.
    """

    scale: float = 0.2

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        return gradient + self.scale * at.lr * torch.randn_like(gradient)
