"""Gradient regularisation: an optimiser that also looks at the slope a little further uphill (FedLeak)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.validation import Fraction, Positive
from ._optimiser import Optimiser, Updates
from .adam import Adam

Closure = Callable[[], Tensor]


@dataclass(frozen=True)
class Regularised(Optimiser):
    """Another optimiser that follows the slope of D + λ ||∂D/∂x|| instead of that of D.

    FedLeak (Fan et al., USENIX Security 2025, arXiv:2506.08435) penalises the norm of the slope g = ∂D/∂x, so that the
    search avoids sharp places. Its gradient is approximated without third derivatives (Zhao et al., 2022; as in
    sharpness-aware minimisation): g' = (1 - blend) g + blend · g(x + rho · g / ||g||), with λ = rho · blend. x are all
    variables of one candidate as one vector, so that candidates do not mix. Every evaluation of the objective becomes
    two.

    Gradient transforms act on each of the two slopes. The moved point is an iterate like any other: it is kept if its
    total is the lowest. `LevenbergMarquardt` does not use the slope, and gains nothing.

    Args:
        optimiser: The optimiser that receives g'.
        rho: L2 distance of the second evaluation, in normalised pixels; 0.01 to 0.05 are usual.
        blend: Weight of the second slope, in [0, 1]; 0 is the other optimiser itself.
    """

    optimiser: Optimiser = field(default_factory=Adam)
    rho: Positive = 0.02
    blend: Fraction = 0.5

    @property
    def independent(self) -> bool:  # type: ignore[override]
        """Whether the other optimiser treats every candidate separately."""
        return self.optimiser.independent

    @property
    def rate(self) -> float | None:
        """The first learning rate of the other optimiser."""
        return self.optimiser.rate

    @property
    def evaluations(self) -> int:
        """Twice the evaluations of the other optimiser."""
        return self.optimiser.evaluations * (2 if self.blend else 1)

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return the other optimiser, whose closure evaluates the slope twice, and its schedule."""
        optimiser, schedule = self.optimiser.build(variables, steps, updates)
        if self.blend:
            leaves = [leaf for group in optimiser.param_groups for leaf in group["params"]]
            optimiser.register_step_pre_hook(lambda _, args, kwargs: (self._twice(args, leaves), kwargs))
        return optimiser, schedule

    def _twice(self, args: tuple[Any, ...], leaves: Sequence[Tensor]) -> tuple[Any, ...]:
        """Return the arguments of `optimiser.step` with a closure that evaluates the slope twice."""
        *others, closure = args
        return (*others, lambda: self._blended(closure, leaves))

    def _blended(self, closure: Closure, leaves: Sequence[Tensor]) -> Tensor:
        """Return the loss at the leaves, whose gradients are then blended; the leaves themselves stay as they are."""
        with torch.enable_grad():
            value = closure()
        here = [_slope(leaf) for leaf in leaves]
        kept = [leaf.detach().clone() for leaf in leaves]
        lengths = torch.stack([slope.reshape(len(slope), -1).square().sum(1) for slope in here]).sum(0).sqrt()
        scale = self.rho / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)
        try:
            with torch.no_grad():
                for leaf, slope in zip(leaves, here, strict=True):
                    leaf += scale.view(-1, *[1] * (leaf.ndim - 1)) * slope
            with torch.enable_grad():
                closure()
            there = [_slope(leaf) for leaf in leaves]
        finally:
            with torch.no_grad():
                for leaf, before in zip(leaves, kept, strict=True):
                    leaf.copy_(before)
        for leaf, first, second in zip(leaves, here, there, strict=True):
            leaf.grad = torch.lerp(first, second, self.blend)
        return value


def _slope(leaf: Tensor) -> Tensor:
    """Return a copy of the gradient of a leaf, zero if the loss does not depend on it."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.detach().clone()
