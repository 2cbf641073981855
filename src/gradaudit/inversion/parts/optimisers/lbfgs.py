"""L-BFGS, with or without a line search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.validation import Count, NonNegative
from ._optimiser import Optimiser, Updates, constant


@dataclass(frozen=True)
class LBFGS(Optimiser):
    """L-BFGS (Liu & Nocedal, 1989) with the defaults of torch, which are also those of DLG's code.

    Args:
        lr: Step length.
        inner: Iterations per step.
        history: Number of past updates that approximate the Hessian.
        line_search: `"strong-wolfe"`, or `"none"` for a fixed step.
    """

    lr: NonNegative = 1.0
    inner: Count = 20
    history: Count = 100
    line_search: Literal["none", "strong-wolfe"] = "none"

    @property
    def evaluations(self) -> int:
        """The evaluations that one step counts for: one for each iteration."""
        return self.inner

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh optimiser over `variables`, and a constant schedule."""
        optimiser = torch.optim.LBFGS(
            variables,
            lr=self.lr,
            max_iter=self.inner,
            history_size=self.history,
            line_search_fn="strong_wolfe" if self.line_search == "strong-wolfe" else None,
        )
        return optimiser, constant(optimiser)
