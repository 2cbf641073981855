"""Defenses where they act before the update: on the batch, and on the gradient of each local step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from torch import Tensor

from ...values.chance import seeded
from ._defense import ActsOn, Defense, Gradient


def acting_on(defenses: Sequence[Defense], what: ActsOn) -> tuple[Defense, ...]:
    """Return the defenses that change the model, the batch, the training, or the update."""
    return tuple(defense for defense in defenses if defense.acts_on is what)


def changed_batch(
    defenses: Sequence[Defense], inputs: Tensor, labels: Tensor, classes: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the inputs and labels that a client trains on, with random numbers from `seed`."""
    acting = acting_on(defenses, ActsOn.BATCH)
    if not acting:
        return inputs, labels
    with seeded(seed, inputs.device):
        for defense in acting:
            inputs, labels = defense.change_batch(inputs, labels, classes)
    return inputs, labels


def changed_training(defenses: Sequence[Defense]) -> dict[str, Any]:
    """Return the arguments of `LocalTraining.train` by which the defenses change the gradient of every local step."""
    acting = acting_on(defenses, ActsOn.TRAINING)
    if not acting:
        return {}

    def around(inner: Gradient, defense: Defense) -> Gradient:
        return lambda inputs, labels: defense.change_gradient(inner, inputs, labels)

    return {"defended": lambda gradient, inputs, labels: reduce(around, acting, gradient)(inputs, labels)}
