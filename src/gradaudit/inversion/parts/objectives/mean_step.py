"""Squared distance of the mean local steps, with larger weights for early layers (DLFA; Dimitrov et al., 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Tensors, UpdateKind
from ..part import Objective, Progress, require_batch_size
from ._layer_numbers import layer_numbers


@dataclass(frozen=True)
class MeanStep(Objective):
    """The squared distance of the mean local steps, weighted by layer and by the progress of the stage.

    It is a(t) · Σ_l exp(-decay · l) · |c_l - o_l|² / (η T)² over the layers l from 0, with the learning rate η and the
    number of local steps T. A weight difference over η T is a mean gradient, so that the weights of priors mean the
    same for every client. Data Leakage in Federated Averaging (Dimitrov et al., arXiv:2206.12395) divides by the number
    of minibatches, weighs layers exponentially, and lets a(t) run geometrically from one value to another (1 to 2, or 4
    to 2).

    Args:
        decay: Decay of the weights along the network, at least 0; 0 weighs all layers equally.
        first: a at the start of the stage.
        last: a at its end.

    Raises:
        AttackFailed: `decay` is negative, or a factor is not positive.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING
    decay: float = 1.0
    first: float = 1.0
    last: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay < 0 or min(self.first, self.last) <= 0:
            raise AttackFailed(f"MeanStep: decay must be at least 0, first and last positive. Found {self!r}.")

    @property
    def varies(self) -> bool:  # type: ignore[override]
        """Whether a(t) changes during the run."""
        return self.first != self.last

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the objective for this update. Raise `AttackFailed` if the local training is not known."""
        training, examples = seen.training, require_batch_size(seen, self)
        if training is None:
            raise AttackFailed(f"{self!r} needs the local training.")
        unit = 1.0
        if seen.update.kind is UpdateKind.WEIGHT_DIFFERENCE and training.learning_rate is not None:
            unit = training.learning_rate * training.steps(examples)
        numbers = layer_numbers(seen.update.tensors)
        return lambda candidate, observed, at: self._distance(candidate, observed, at, numbers, unit)

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return self._distance(candidate, observed, at, range(len(candidate)), 1.0)

    def _distance(
        self, candidate: Tensors, observed: Tensors, at: Progress, numbers: Sequence[int], unit: float
    ) -> Tensor:
        factor = self.first * (self.last / self.first) ** at.fraction / unit**2
        triples = zip(candidate, observed, numbers, strict=True)
        return torch.stack([factor * math.exp(-self.decay * n) * (c - o).square().sum() for c, o, n in triples]).sum()
