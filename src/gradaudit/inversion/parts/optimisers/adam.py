"""Adam with a schedule in fractions of the stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.validation import Decay, Fraction, NonNegative
from ._optimiser import Optimiser, Updates


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam (Kingma & Ba, 2015) with a schedule in fractions of the stage.

    Args:
        lr: Learning rate in normalised pixels per step.
        milestones: Fractions of the stage at which the learning rate is multiplied by `factor`.
        factor: See `milestones`.
        cosine: Whether the learning rate decays to zero along half a cosine, after the warm-up.
        warm_up: Fraction of the stage over which the learning rate rises linearly from near zero.
        betas: Decay of the two moments.
    """

    independent: ClassVar[bool] = True
    lr: NonNegative = 0.1
    milestones: tuple[Fraction, ...] = ()
    factor: NonNegative = 0.1
    cosine: bool = False
    warm_up: Fraction = 0.0
    betas: tuple[Decay, Decay] = (0.9, 0.999)

    @property
    def rate(self) -> float:
        """The first learning rate, of which a simulation's variables use a fraction."""
        return self.lr

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh optimiser over `variables`, and its schedule over `steps`."""
        optimiser = torch.optim.Adam(variables, lr=self.lr, betas=self.betas)
        return optimiser, LambdaLR(optimiser, lambda step: self.scale(step, steps))

    def scale(self, step: int, steps: int) -> float:
        """Return the factor on the learning rate at `step` (from 0) of `steps`."""
        value = self.factor ** sum(step >= math.floor(m * steps) for m in self.milestones)
        rising = self.warm_up * steps
        if step + 1 < rising:
            return value * (step + 1) / rising
        if self.cosine:
            value *= 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))
        return value
