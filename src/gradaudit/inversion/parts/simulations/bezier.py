"""NL-SME: the point lies on a curve between the model before and after, not on the segment (2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ....client.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Tensors, UpdateKind
from ..part import Simulation
from ._simulated_step import GradientNear


@dataclass(frozen=True)
class Bezier(Simulation):
    """∇L at the quadratic Bézier curve (1-α)² θ_0 + 2α(1-α) P + α² θ_T, with α and the control point P optimised.

    P starts at the middle and is as large as the model, so that the objective may fall without better inputs: judge by
    the pictures. Published without code; the rescaling of the target direction is left out.

    Args:
        alpha: First α.
        rate: Learning rate of α, as a factor of the optimiser's.
        control_rate: The same of P, in units of the update's root mean square entry.
    """

    alpha: float = 0.5
    rate: float = 1e-3
    control_rate: float = 1e-2

    def bind(self, seen: Observation) -> _Bezier:
        """The simulation on the run's model; raises `AttackFailed` for an update that is no weight difference."""
        if seen.update.kind is not UpdateKind.WEIGHT_DIFFERENCE:
            raise AttackFailed(f"{self!r} needs a weight difference, which tells the model after the local training.")
        return _Bezier(self, seen)


class _Bezier:
    def __init__(self, settings: Bezier, seen: Observation) -> None:
        self.settings, self.gradient = settings, GradientNear(seen)
        self.observed = seen.update.values
        count = sum(tensor.numel() for tensor in self.observed)
        squares = sum(float(tensor.double().square().sum()) for tensor in self.observed)
        self.unit = (squares / count) ** 0.5
        self.rates: Mapping[str, float] = {"alpha": settings.rate, "control": settings.control_rate}

    def start(self, seeds: int) -> dict[str, Tensor]:
        """α `[S]`, and the control point's distance from the middle in units of the update, `[S, |θ|]`."""
        like = self.observed[0]
        count = sum(tensor.numel() for tensor in self.observed)
        return {
            "alpha": torch.full((seeds,), self.settings.alpha, device=like.device, dtype=like.dtype),
            "control": torch.zeros(seeds, count, device=like.device, dtype=like.dtype),
        }

    def project(self, variables: Mapping[str, Tensor]) -> None:
        """α in [0, 1]."""
        variables["alpha"].clamp_(0, 1)

    def __call__(self, inputs: Tensor, labels: Tensor, variables: Mapping[str, Tensor]) -> Tensors:
        """With P = θ_0 - Δ/2 + q the curve is θ_0 - α Δ + 2α(1-α) q."""
        alpha = variables["alpha"]
        sizes = [tensor.numel() for tensor in self.observed]
        bends = (self.unit * variables["control"]).split(sizes)
        point = [
            start.detach() - alpha * moved + 2 * alpha * (1 - alpha) * bend.view_as(moved)
            for start, moved, bend in zip(self.gradient.start, self.observed, bends, strict=True)
        ]
        return self.gradient(inputs, labels, [p if p.requires_grad else p.requires_grad_() for p in point])
