"""Unroll the client's local steps, each epoch on its own copy of the examples (DLFA; Dimitrov et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Tensors
from ..part import Simulation, require_batch_size
from ._simulated_step import Fixed


@dataclass(frozen=True)
class UnrolledCopies(Simulation):
    """A simulation that unrolls every local step; epoch e trains on the inputs e B to (e + 1) B of `EpochCopies`.

    The copies may differ, so that a minibatch of one epoch need not consist of the same candidates as in another: the
    adversary cannot know how the client shuffles (Dimitrov et al., arXiv:2206.12395). Copy i of every epoch has label
    i. If the client shuffles, the assignment of copies to minibatches is drawn once per run.

    Args:
        checkpoint: Whether to recompute every step in the backward pass.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING
    checkpoint: bool = False

    def bind(self, seen: Observation) -> _UnrolledCopies:
        """Return the simulation on the run's model. Raise `AttackFailed` if the local training is not known."""
        return _UnrolledCopies(self, seen, require_batch_size(seen, self))


class _UnrolledCopies(Fixed):
    def __init__(self, settings: UnrolledCopies, seen: Observation, examples: int) -> None:
        if seen.training is None:
            raise AttackFailed(f"{settings!r} needs the local training.")
        self.settings, self.model, self.training, self.examples = settings, seen.model, seen.training, examples
        drawn = self.training.orders(examples, int(torch.randint(2**31, ())))
        self.orders = [order + epoch * examples for epoch, order in enumerate(drawn)]

    def __call__(self, inputs: Tensor, labels: Tensor, variables: object) -> Tensors:
        epochs = self.training.epochs
        if len(inputs) != epochs * self.examples:
            raise AttackFailed(
                f"{self.settings!r} needs {epochs} copies of {self.examples} examples, as EpochCopies makes them. "
                f"Found {len(inputs)}."
            )
        return self.training(
            self.model,
            inputs,
            labels.repeat(epochs, *[1] * (labels.ndim - 1)),
            differentiable=True,
            orders=self.orders,
            checkpoint=self.settings.checkpoint,
        )
