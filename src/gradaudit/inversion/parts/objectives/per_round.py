"""The mean of one objective over several rounds (AGIC; Xu et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Tensors
from ..part import Objective, Progress
from ._around import AroundObjective
from ._rounds import round_slices
from .cosine import Cosine


@dataclass(frozen=True)
class PerRound(AroundObjective):
    """The mean of another objective over the rounds that an observation joins (`_rounds.joined`).

    If there is one round, it is that objective itself.

    Args:
        objective: The objective that compares the updates of one round.
    """

    objective: Objective = field(default_factory=Cosine)

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the other objective, bound to every round."""
        slices = round_slices(seen)
        names = list(seen.update.tensors)
        rounds = [
            self.objective.bind(
                replace(seen, update=replace(seen.update, tensors={n: seen.update.tensors[n] for n in names[part]}))
            )
            for part in slices
        ]
        if len(rounds) == 1:
            return rounds[0]
        return lambda candidate, observed, at: torch.stack(
            [one(candidate[part], observed[part], at) for one, part in zip(rounds, slices, strict=True)]
        ).mean()

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return self.objective(candidate, observed, at)
