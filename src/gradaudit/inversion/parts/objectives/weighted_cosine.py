"""A cosine distance in which deeper layers count more (AGIC; Xu et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Tensors
from ..part import Objective, Progress
from ._layer_numbers import layer_numbers


@dataclass(frozen=True)
class WeightedCosine(Objective):
    """The cosine distance with layer weights that grow linearly along the network.

    It is 1 - Σ w_l <c_l, o_l> / sqrt(Σ w_l |c_l|² · Σ w_l |o_l|²), in [0, 2]. AGIC (Xu et al., arXiv:2204.13784) says
    that weights increase with the layer, but not by how much: here from 1 in the first to `last` in the last, in equal
    steps; the tensors of one layer share its weight. It is invariant to a positive rescaling. A zero vector on either
    side yields 1.

    Args:
        last: Weight of the last layer, positive; below 1 the first layers count more.

    Raises:
        AttackFailed: `last` is not positive.
    """

    independent: ClassVar[bool] = True
    last: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.last > 0:
            raise AttackFailed(f"WeightedCosine: last must be positive. Found {self.last}.")

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the objective with the weights of this update's layers."""
        numbers = layer_numbers(seen.update.tensors)
        return lambda candidate, observed, at: self._distance(candidate, observed, numbers)

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return self._distance(candidate, observed, range(len(candidate)))

    def _distance(self, candidate: Tensors, observed: Tensors, numbers: Sequence[int]) -> Tensor:
        steps = max(1, max(numbers))
        weights = [1 + (self.last - 1) * number / steps for number in numbers]
        inner, ours, theirs = (
            torch.stack([w * (a * b).sum() for w, a, b in zip(weights, left, right, strict=True)]).sum()
            for left, right in ((candidate, observed), (candidate, candidate), (observed, observed))
        )
        tiny = torch.finfo(inner.dtype).tiny
        return 1 - inner / (ours.clamp_min(tiny).sqrt() * theirs.clamp_min(tiny).sqrt())
