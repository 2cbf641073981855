"""RMSprop at a constant learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.validation import Decay, Fraction, NonNegative
from ._optimiser import Optimiser, Updates, constant


@dataclass(frozen=True)
class RMSprop(Optimiser):
    """RMSprop (Hinton, 2012) at a constant learning rate.

    The defaults are those of GRNN, whose variables are the weights of a generator.

    Args:
        lr: Learning rate.
        momentum: In [0, 1).
        alpha: Decay of the mean square.
    """

    name: ClassVar[str] = "rmsprop"
    lr: NonNegative = 1e-4
    momentum: Decay = 0.99
    alpha: Fraction = 0.99

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh optimiser over `variables`, and a constant schedule."""
        optimiser = torch.optim.RMSprop(variables, lr=self.lr, momentum=self.momentum, alpha=self.alpha)
        return optimiser, constant(optimiser)
