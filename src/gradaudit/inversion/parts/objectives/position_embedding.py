"""Match the gradient of a learned position embedding, which reveals each patch's place (APRIL; Lu et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Tensors
from ...network.vision_transformer import position_embedding
from ..part import Objective, Progress
from ._around import AroundObjective
from .euclidean import Euclidean


@dataclass(frozen=True)
class PositionEmbedding(AroundObjective):
    """APRIL's objective for any vision transformer: a distance D plus the position embedding's cosine distance.

    It is D(g, g*) + weight · (1 - cos(∂L/∂E_pos, ∂L*/∂E_pos)). The cosine is of the two gradients `[T, d]` as single
    vectors; their rows are the gradients of the tokens.

    Args:
        objective: D.
        weight: α of the paper.
        name: Part of the name of the embedding's tensor; the first tensor of the update whose name contains it is used.
    """

    objective: Objective = field(default_factory=Euclidean)
    weight: float = 1.0
    name: str = "pos"

    @property
    def independent(self) -> bool:  # type: ignore[override]
        """Whether D is independent."""
        return self.objective.independent

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the objective for this update. Raise `AttackFailed` if it does not share the embedding's gradient."""
        names = list(seen.update.tensors)
        index, distance = names.index(position_embedding(names, self.name)), self.objective.bind(seen)

        def measure(candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
            ours, theirs = candidate[index].flatten(), observed[index].flatten()
            return distance(candidate, observed, at) + self.weight * (1 - torch.cosine_similarity(ours, theirs, dim=0))

        return measure
