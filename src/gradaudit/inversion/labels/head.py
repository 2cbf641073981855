"""The last linear layer's share of an update, which is where labels are read."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import AttackFailed
from ...local_training import AggregatedTraining, LocalTraining
from ...observation import Observation
from ...types import UpdateKind

# A feature this far below zero, as a share of the largest one, is rounding.
ROUNDING = 1e-6


class Head(NamedTuple):
    """Gradient of the classification layer.

    Args:
        weight: `[K, m]`.
        bias: `[K]`, or `None` where the layer has none or it was not shared.
    """

    weight: Tensor
    bias: Tensor | None

    @property
    def biases(self) -> Tensor:
        """`[K]`; raises `AttackFailed` where there are none."""
        if self.bias is None:
            raise AttackFailed("the update holds no bias of the last layer, and this method reads the labels there.")
        return self.bias

    @property
    def sums(self) -> Tensor:
        """`[K]`, the sum of every row of the weight's gradient."""
        return self.weight.sum(1)


def find_head(seen: Observation) -> tuple[str, nn.Linear]:
    """Name and layer of the last linear layer with K outputs whose weight was shared.

    Raises:
        AttackFailed: The model has no such layer, or its weight was not shared.
    """
    for name, layer in reversed(list(seen.model.named_modules())):
        shared = f"{name}.weight" if name else "weight"
        if isinstance(layer, nn.Linear) and layer.out_features == seen.classes and shared in seen.update.tensors:
            return name, layer
    raise AttackFailed(f"the update holds no linear layer with {seen.classes} outputs, so no label can be read off it.")


def head_gradient(seen: Observation) -> Head:
    """The shared gradient of the last linear layer with K outputs; its bias is looked up by the layer's own name.

    A weight difference is returned as it is: the sign and the shape of a gradient, but not its size.

    Raises:
        AttackFailed: There is no such layer, or its gradient is zero or not finite.
    """
    name, _ = find_head(seen)
    prefix = f"{name}." if name else ""
    head = Head(seen.update.tensors[f"{prefix}weight"], seen.update.tensors.get(f"{prefix}bias"))
    if not all(torch.isfinite(tensor).all() for tensor in head if tensor is not None):
        raise AttackFailed("the gradient of the last layer holds NaN or infinity, so no label can be read off it.")
    if not head.weight.any():
        raise AttackFailed("the gradient of the last layer is zero, so no label can be read off it.")
    return head


def mean_head(seen: Observation) -> Head:
    """The head's gradient in its true size, averaged over the local steps, in double precision on the CPU.

    Raises:
        AttackFailed: As `head_gradient`, or the update is a weight difference and the adversary does not know by what
            it was multiplied.
    """
    head = double_head(seen)
    scale = displacement(seen)
    return Head(head.weight / scale, None if head.bias is None else head.bias / scale)


def double_head(seen: Observation) -> Head:
    """`head_gradient` in double precision on the CPU, for rules that do not care for its size."""
    head = head_gradient(seen)
    return Head(head.weight.double().cpu(), None if head.bias is None else head.bias.double().cpu())


def displacement(seen: Observation) -> float:
    """What an update is in units of the mean gradient: for a weight difference learning rate · steps, for a gradient 1.

    Momentum m makes T equal gradients g count Σ_t (1 - mᵗ) / (1 - m) · g instead of T · g, Nesterov's form one power of
    m more. Of several clients it is the mean, weighted by their examples.

    Raises:
        AttackFailed: The local training is not known where it is needed, or is Adam's, which shares no multiple of a
            gradient.
    """
    training = seen.training
    rate = None if training is None else training.learning_rate
    if training is None or rate is None:
        if seen.update.kind is UpdateKind.GRADIENT:
            return 1.0
        raise AttackFailed(
            "the size of the gradient is needed, and a weight difference hides it behind learning rate and steps. "
            "Grant LOCAL_TRAINING."
        )
    if training.optimiser == "adam":
        raise AttackFailed("the client trains with Adam, whose steps do not have the size of a gradient.")
    momentum, ahead = training.momentum, int(training.nesterov)
    clients = training.sizes if isinstance(training, AggregatedTraining) else (_examples(seen),)
    total = 0.0
    for examples in clients:
        steps = LocalTraining.steps(training, examples)
        grown = sum((1 - momentum ** (step + ahead)) / (1 - momentum) for step in range(1, steps + 1))
        total += examples / sum(clients) * grown / (steps if seen.update.kind is UpdateKind.GRADIENT else 1)
    return total if seen.update.kind is UpdateKind.GRADIENT else rate * total


def local_steps(seen: Observation) -> int:
    """Local steps behind the update, of several clients the most; 1 where the adversary knows nothing of them."""
    training = seen.training
    if training is None or training.learning_rate is None:
        return 1
    return training.steps(_examples(seen))


def _examples(seen: Observation) -> int:
    """The batch size, where the number of steps depends on it."""
    if seen.batch_size is None and seen.training is not None and seen.training.minibatch_size is not None:
        raise AttackFailed("the number of local steps follows from the batch size. Grant BATCH_SIZE.")
    return seen.batch_size or 1
