"""Optimisers and their schedules, as data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ...values.types import Tensors

Updates = Callable[[int], tuple[Tensors, Tensors]]
"""Of one seed: the simulated update, with the graph to the variables where gradients are on, and the observed one."""


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba, 2015) with a schedule in fractions of the stage.

    Args:
        lr: Learning rate in normalised pixels per step.
        milestones: Fractions of the stage at which the rate is multiplied by `factor`.
        factor: See `milestones`.
        cosine: Decay to zero along half a cosine, after the warm-up.
        warm_up: Fraction of the stage over which the rate rises linearly from near zero.
        betas: Decay of the two moments.
    """

    lr: float = 0.1
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    cosine: bool = False
    warm_up: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """A fresh optimiser over `variables`, and its schedule over `steps`."""
        optimiser = torch.optim.Adam(variables, lr=self.lr, betas=self.betas)
        return optimiser, LambdaLR(optimiser, lambda step: self.scale(step, steps))

    def scale(self, step: int, steps: int) -> float:
        """Factor on the learning rate at `step` (from 0) of `steps`."""
        value = self.factor ** sum(step >= math.floor(m * steps) for m in self.milestones)
        rising = self.warm_up * steps
        if step + 1 < rising:
            return value * (step + 1) / rising
        if self.cosine:
            value *= 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))
        return value


@dataclass(frozen=True)
class RMSprop:
    """RMSprop (Hinton, 2012) at a constant rate; the defaults are GRNN's, whose variables are weights.

    Args:
        lr: Learning rate.
        momentum: In [0, 1).
        alpha: Decay of the mean square.
    """

    lr: float = 1e-4
    momentum: float = 0.99
    alpha: float = 0.99

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """A fresh optimiser over `variables`, and a constant schedule."""
        optimiser = torch.optim.RMSprop(variables, lr=self.lr, momentum=self.momentum, alpha=self.alpha)
        return optimiser, LambdaLR(optimiser, lambda step: 1.0)


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS (Liu & Nocedal, 1989) with the defaults of torch, which are those of DLG's code.

    Args:
        lr: Step length.
        inner: Iterations per step.
        history: Pairs kept.
        line_search: `"strong-wolfe"`, or `"none"` for a fixed step.
    """

    lr: float = 1.0
    inner: int = 20
    history: int = 100
    line_search: Literal["none", "strong-wolfe"] = "none"

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """A fresh optimiser over `variables`, and a constant schedule."""
        optimiser = torch.optim.LBFGS(
            variables,
            lr=self.lr,
            max_iter=self.inner,
            history_size=self.history,
            line_search_fn="strong_wolfe" if self.line_search == "strong-wolfe" else None,
        )
        return optimiser, LambdaLR(optimiser, lambda step: 1.0)
