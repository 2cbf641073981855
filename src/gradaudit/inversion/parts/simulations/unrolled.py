"""Unroll the client's local steps and differentiate through them (Geiping et al., 2020, section 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Tensors
from ..part import Simulation, require_batch_size
from ._simulated_step import Fixed


@dataclass(frozen=True)
class Unrolled(Simulation):
    """A simulation that unrolls every local step, as far as the adversary knows or assumes it.

    Memory grows with every step by its activations and derivatives, or with `checkpoint` by the parameters alone.

    Args:
        order: Order of the examples in an epoch. `"batch"` uses the candidate's own order in every epoch, which is
            exact if the client does not shuffle; `"random"` draws one order per epoch at the start of a run, for a
            client that shuffles.
        minibatches: `"known"` simulates the client's minibatches. For an adversary that does not know their size,
            `"epoch"` takes one step per epoch over all examples and `"one"` a single step, with the learning rates
            added up (SoK, table II).
        checkpoint: Whether to recompute every step in the backward pass.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING
    order: Literal["batch", "random"] = "batch"
    minibatches: Literal["known", "epoch", "one"] = "known"
    checkpoint: bool = False

    def bind(self, seen: Observation) -> _Unrolled:
        """Return the simulation on the run's model. Raise `AttackFailed` if the local training is not known."""
        training, examples = seen.training, require_batch_size(seen, self)
        if training is None:
            raise AttackFailed(f"{self!r} needs the local training.")
        steps = training.steps(examples)
        if training.learning_rate is not None and self.minibatches != "known":
            taken = training.epochs if self.minibatches == "epoch" else 1
            rate = training.learning_rate * steps / taken
            training = replace(training, minibatch_size=None, drop_last=False, epochs=taken, learning_rate=rate)
        orders = None
        if self.order == "random" and training.learning_rate is not None:
            orders = tuple(torch.randperm(examples) for _ in range(training.epochs))
        return _Unrolled(seen, training, orders, self.checkpoint)


class _Unrolled(Fixed):
    def __init__(self, seen: Observation, training, orders: tuple[Tensor, ...] | None, checkpoint: bool) -> None:  # noqa: ANN001
        self.model, self.training, self.orders, self.checkpoint = seen.model, training, orders, checkpoint

    def __call__(self, inputs: Tensor, labels: Tensor, variables: object) -> Tensors:
        return self.training(
            self.model, inputs, labels, differentiable=True, orders=self.orders, checkpoint=self.checkpoint
        )
