"""Langevin noise on the step, which fades with the learning rate (Yin et al., 2021, section 3.4, Langevin updates)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..part import Candidate, Move, Progress


@dataclass(frozen=True)
class LangevinStep(Move):
    """A move that adds lr(t) · α_n · N(0, 1) to the variables after the optimiser's step, and projects them.

    Adam's step is about lr(t) in every entry whatever the scale of the loss, so with the default the noise is a fifth
    of it. `Langevin` adds the same noise to the gradient instead, where it competes with the scale of the loss.

    Args:
        scale: α_n, 0.2 in the paper.
    """

    scale: float = 0.2

    def __call__(self, candidate: Candidate, score: Callable[[], Tensor], at: Progress) -> None:
        for variable in candidate.variables.values():
            variable.add_(torch.randn_like(variable), alpha=self.scale * at.lr)
        candidate.project()
