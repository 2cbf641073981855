"""Gradient descent with momentum."""

from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LambdaLR

from gradaudit.inversion.parts.optimisers import Optimiser


@dataclass(frozen=True)
class HeavyBall(Optimiser):
    """x ← x - lr v with v ← momentum v + gradient (Polyak, 1964).

    Args:
        lr: Learning rate.
        momentum: In [0, 1).
    """

    lr: float = 0.1
    momentum: float = 0.5

    def build(self, variables, steps, updates=None):
        """Return the optimiser and a constant schedule."""
        optimiser = torch.optim.SGD(variables, lr=self.lr, momentum=self.momentum)
        return optimiser, LambdaLR(optimiser, lambda step: 1.0)
