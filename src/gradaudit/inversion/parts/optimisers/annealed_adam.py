"""Adam whose learning rate is annealed to a fraction of itself."""

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
class AnnealedAdam(Optimiser):
    """Adam (Kingma & Ba, 2015) with cosine annealing to a fraction of the learning rate (Loshchilov & Hutter, 2017).

    The rate at step t of T is lr · (floor + (1 - floor) · (1 + cos(π t / T)) / 2).

    Args:
        lr: First learning rate in normalised pixels per step.
        floor: Last learning rate over the first one; `Adam(cosine=True)` decays to 0.
        betas: Decay of the two moments.
    """

    independent: ClassVar[bool] = True
    lr: NonNegative = 0.05
    floor: Fraction = 0.1
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
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * step / steps)) / 2
