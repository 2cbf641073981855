"""Treat the update as one gradient: cheap, and accurate if the local steps are few and small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Tensors, UpdateKind
from ..part import Simulation
from ._simulated_step import Fixed, GradientNear


@dataclass(frozen=True)
class AsGradient(Simulation):
    """A simulation that treats the update as one gradient, Δ = c · ∂L/∂θ over all examples at the model as sent.

    It ignores the client's actual training. This is the approximation that AGIC starts from (Xu et al., 2022).

    Args:
        scale: c: `"unknown"` is 1, for objectives invariant to scale such as the cosine; `"known"` is the learning rate
            times the number of steps; `"estimated"` fits c by least squares, <g, Δ> / <g, g>, at every evaluation.
    """

    scale: Literal["unknown", "known", "estimated"] = "unknown"

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """LOCAL_TRAINING if the scale is known, otherwise nothing."""
        return Knowledge.LOCAL_TRAINING if self.scale == "known" else Knowledge.NOTHING

    def bind(self, seen: Observation) -> _AsGradient:
        """Return the simulation on the run's model. Raise `AttackFailed` if the facts for a known scale are missing."""
        factor = 1.0
        if self.scale == "known":
            training = seen.training
            if training is None or seen.batch_size is None:
                raise AttackFailed(f"{self!r} needs the local training and the batch size.")
            if training.kind is UpdateKind.WEIGHT_DIFFERENCE and training.learning_rate is not None:
                factor = training.learning_rate * training.steps(seen.batch_size)
        return _AsGradient(GradientNear(seen), factor, seen.update.values if self.scale == "estimated" else None)


class _AsGradient(Fixed):
    def __init__(self, gradient: GradientNear, factor: float, observed: Tensors | None) -> None:
        self.gradient, self.factor, self.observed = gradient, factor, observed

    def __call__(self, inputs: Tensor, labels: Tensor, variables: object) -> Tensors:
        found = self.gradient(inputs, labels)
        if self.observed is None:
            return tuple(self.factor * tensor for tensor in found) if self.factor != 1 else found
        inner = torch.stack([(g * o).sum() for g, o in zip(found, self.observed, strict=True)]).sum()
        squares = torch.stack([g.pow(2).sum() for g in found]).sum()
        best = inner / squares.clamp_min(torch.finfo(squares.dtype).tiny)
        return tuple(best * tensor for tensor in found)
