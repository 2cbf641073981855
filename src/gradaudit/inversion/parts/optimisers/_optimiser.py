"""The base class of optimisers: their settings and schedule, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.types import Tensors
from ....values.validation import Checked


class Updates(Protocol):
    """What an optimiser may ask of a stage besides its closure, at the current values of the variables."""

    def __call__(self, seed: int) -> tuple[Tensors, Tensors]:
        """Return the simulated and the observed update of one seed, the former with its graph if gradients are on."""

    def totals(self) -> Tensor:
        """Return the objective plus the weighted priors of all candidates, `[S]`, without their gradient.

        The candidates are projected first, and kept if they are the best so far.
        """


@dataclass(frozen=True)
class Optimiser(Checked):
    """The settings of an optimiser; `build` returns the optimiser of one stage.

    `independent` says that every candidate is optimised separately, so that many candidates may share one pass.
    `gradient_free` says that it works with the objective's values alone, and never calls the closure.
    """

    independent: ClassVar[bool] = False
    gradient_free: ClassVar[bool] = False

    @property
    def rate(self) -> float | None:
        """The first learning rate, of which a simulation's variables use a fraction.

        It is `None` if all variables share one rate.
        """
        return None

    @property
    def evaluations(self) -> int:
        """The number of evaluations of the objective that one step counts for when attacks are compared."""
        return 1

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh optimiser over `variables`, and its schedule.

        Args:
            variables: Leaf tensors, each `[S, ...]` with S candidates, or groups of them as in `torch.optim`.
            steps: Number of steps of the stage.
            updates: Both updates of a candidate, and the totals, for optimisers that need more than the closure.

        Raises:
            ValueError: A setting is out of range.
        """
        raise NotImplementedError


def constant(optimiser: torch.optim.Optimizer) -> LambdaLR:
    """Return a schedule that leaves the learning rate unchanged."""
    return LambdaLR(optimiser, lambda step: 1.0)
