"""What every optimiser is: its settings and its schedule, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.types import Tensors
from ....values.validation import Checked

Updates = Callable[[int], tuple[Tensors, Tensors]]
"""Of one seed: the simulated update, with the graph to the variables where gradients are on, and the observed one."""


@dataclass(frozen=True)
class Optimiser(Checked):
    """The settings of an optimiser; `build` returns what moves the variables of one stage.

    `independent` says that every guess moves on its own, so that many guesses may share one pass.
    """

    independent: ClassVar[bool] = False

    @property
    def rate(self) -> float | None:
        """First learning rate, of which variables of a simulation take a fraction; `None` where all move alike."""
        return None

    @property
    def evaluations(self) -> int:
        """What one step counts for where attacks are compared by their evaluations of the objective."""
        return 1

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh optimiser over `variables`, and its schedule.

        Args:
            variables: Leaves, `[S, ...]` each with S guesses, or groups of them as `torch.optim` takes them.
            steps: Of the stage.
            updates: For those that need the updates themselves, and not their distance alone.

        Raises:
            ValueError: A setting that is out of range.
        """
        raise NotImplementedError


def constant(optimiser: torch.optim.Optimizer) -> LambdaLR:
    """Return the schedule that leaves the learning rate as it is."""
    return LambdaLR(optimiser, lambda step: 1.0)
