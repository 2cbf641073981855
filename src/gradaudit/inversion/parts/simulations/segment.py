"""SME: the update is parallel to the gradient at a point between the model before and after (Zhu et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Tensors, UpdateKind
from ..part import Simulation
from ._simulated_step import GradientNear


@dataclass(frozen=True)
class Segment(Simulation):
    """A simulation by the gradient at (1 - α) θ_0 + α θ_T, with α in [0, 1] optimised beside the inputs (equation 5).

    It takes one gradient per step. The gradient's L2 norm is not that of the update, so match by the cosine. α = 0
    treats the update as a gradient at θ_0.

    Args:
        alpha: First α.
        rate: Learning rate of α, as a factor of the optimiser's (1e-3 to 1 in the authors' code).
    """

    alpha: float = 0.5
    rate: float = 1e-3

    def bind(self, seen: Observation) -> _Segment:
        """Return the simulation on the run's model. Raise `AttackFailed` if the update is not a weight difference."""
        if seen.update.kind is not UpdateKind.WEIGHT_DIFFERENCE:
            raise AttackFailed(f"{self!r} needs a weight difference, which reveals the model after the training.")
        return _Segment(self, seen)


class _Segment:
    def __init__(self, settings: Segment, seen: Observation) -> None:
        self.settings, self.gradient = settings, GradientNear(seen)
        self.observed = seen.update.values
        self.rates: Mapping[str, float] = {"alpha": settings.rate}

    def start(self, seeds: int) -> dict[str, Tensor]:
        """Return α of every seed, `[S]`."""
        like = self.observed[0]
        return {"alpha": torch.full((seeds,), self.settings.alpha, device=like.device, dtype=like.dtype)}

    def project(self, variables: Mapping[str, Tensor]) -> None:
        """Clamp α to [0, 1]."""
        variables["alpha"].clamp_(0, 1)

    def __call__(self, inputs: Tensor, labels: Tensor, variables: Mapping[str, Tensor]) -> Tensors:
        """Return the gradient at the segment's point, which is θ_0 - α Δ because θ_T = θ_0 - Δ."""
        point = [
            (start.detach() - variables["alpha"] * moved).requires_grad_()
            for start, moved in zip(self.gradient.start, self.observed, strict=True)
        ]
        return self.gradient(inputs, labels, point)
