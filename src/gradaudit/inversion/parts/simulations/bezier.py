"""NL-SME: the surrogate point lies on a curve between the model before and after, instead of a segment (2025)."""

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
class Bezier(Simulation):
    """A simulation by the gradient at a point of the Bézier curve (1-α)² θ_0 + 2α(1-α) P + α² θ_T.

    α and the control point P are optimised. P starts at the midpoint and is as large as the model, so the objective may
    fall without better inputs: judge the attack by its images. The method was published without code; its rescaling of
    the target direction is omitted.

    Args:
        alpha: First α.
        rate: Learning rate of α, as a factor of the optimiser's.
        control_rate: Learning rate of P, likewise, in units of the update's root mean square entry.
    """

    alpha: float = 0.5
    rate: float = 1e-3
    control_rate: float = 1e-2

    def bind(self, seen: Observation) -> _Bezier:
        """Return the simulation on the run's model. Raise `AttackFailed` if the update is not a weight difference."""
        if seen.update.kind is not UpdateKind.WEIGHT_DIFFERENCE:
            raise AttackFailed(f"{self!r} needs a weight difference, which reveals the model after the training.")
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
        """Return α `[S]`, and the control point's offset from the midpoint in units of the update, `[S, |θ|]`."""
        like = self.observed[0]
        count = sum(tensor.numel() for tensor in self.observed)
        return {
            "alpha": torch.full((seeds,), self.settings.alpha, device=like.device, dtype=like.dtype),
            "control": torch.zeros(seeds, count, device=like.device, dtype=like.dtype),
        }

    def project(self, variables: Mapping[str, Tensor]) -> None:
        """Clamp α to [0, 1]."""
        variables["alpha"].clamp_(0, 1)

    def __call__(self, inputs: Tensor, labels: Tensor, variables: Mapping[str, Tensor]) -> Tensors:
        """Return the gradient at the curve's point; with P = θ_0 - Δ/2 + q that is θ_0 - α Δ + 2α(1-α) q."""
        alpha = variables["alpha"]
        sizes = [tensor.numel() for tensor in self.observed]
        bends = (self.unit * variables["control"]).split(sizes)
        point = [
            start.detach() - alpha * moved + 2 * alpha * (1 - alpha) * bend.view_as(moved)
            for start, moved, bend in zip(self.gradient.start, self.observed, bends, strict=True)
        ]
        return self.gradient(inputs, labels, [p if p.requires_grad else p.requires_grad_() for p in point])
