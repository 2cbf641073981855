"""What Adam has in common under every schedule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ._optimiser import Optimiser, Updates


class ScheduledAdam(Optimiser, ABC):
    """Adam (Kingma & Ba, 2015) whose learning rate follows `scale`.

    Attributes:
        lr: First learning rate.
        betas: Decay of the two moments.
    """

    independent: ClassVar[bool] = True
    lr: float
    betas: tuple[float, float]

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

    @abstractmethod
    def scale(self, step: int, steps: int) -> float:
        """Return the factor on the learning rate at `step` (from 0) of `steps`."""
