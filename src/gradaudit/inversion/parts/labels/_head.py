"""The last layer's share of an update, which is where labels are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....client.local_training import AggregatedTraining, LocalTraining
from ....client.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import UpdateKind
from ._search import FoundHead, search

# A feature this far below zero, as a share of the largest one, is rounding.
ROUNDING = 1e-6


NO_ROWS = (
    "the update holds no weight whose gradient is p - y times features (the last layer's is normalised, lies behind "
    "something else, or is not shared), and this method reads the labels there. Take bias-sign or bias-counts."
)
NO_HEAD = "the update holds no layer with {classes} outputs whose gradient holds p - y, where labels are read: {why}."


@dataclass(frozen=True, eq=False)
class Head:
    """Gradient of the classification layer.

    Args:
        rows: `[K, m]`, (p - y) times the features, or `None` where no such gradient travels.
        bias: `[K]`, or `None` where the layer has none or it was not shared.
        exact: The bias gradient is p - y itself, not only of its signs.
    """

    rows: Tensor | None
    bias: Tensor | None
    exact: bool = True

    @property
    def weight(self) -> Tensor:
        """`[K, m]`; raises `AttackFailed` where there are no rows."""
        if self.rows is None:
            raise AttackFailed(NO_ROWS)
        if not self.rows.any():
            raise AttackFailed(
                "the gradient of the last layer's weight is zero, and this method reads the labels there."
            )
        return self.rows

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

    def map(self, change: Callable[[Tensor], Tensor]) -> Head:
        """The same with both tensors changed."""
        rows, bias = (None if tensor is None else change(tensor) for tensor in (self.rows, self.bias))
        return replace(self, rows=rows, bias=bias)


def find_head(seen: Observation) -> FoundHead:
    """The parameters whose gradients hold p - y, of those that were shared.

    Raises:
        AttackFailed: The model has none, or none was shared.
    """
    found = search(seen)
    if found == FoundHead():
        raise AttackFailed(NO_HEAD.format(classes=seen.classes, why="nothing in the model moves one logit alone"))
    shared = replace(found, weight=_shared(seen, found.weight), bias=_shared(seen, found.bias))
    if shared.weight is None and shared.bias is None:
        names = " and ".join(name for name in (found.weight, found.bias) if name)
        raise AttackFailed(NO_HEAD.format(classes=seen.classes, why=f"{names} of the model did not travel"))
    return shared


def own_values(seen: Observation) -> tuple[Tensor, Tensor]:
    """The head's own weight `[K, m]` and bias `[K]` (zeros where it has none), in double precision on the CPU.

    Raises:
        AttackFailed: As `find_head`, or the logits are not weight times features plus bias.
    """
    find_head(seen)
    found, own = search(seen), dict(seen.model.named_parameters())
    if not found.affine:
        raise AttackFailed(
            "the model's logits are not its last layer's output, so they cannot be computed from features."
        )
    weight = own[found.weight].detach().flatten(1).double().cpu()
    return weight, own[found.bias].detach().flatten().double().cpu() if found.bias else weight.new_zeros(len(weight))


def head_gradient(seen: Observation) -> Head:
    """The shared gradient of the layer whose output is the model's logits.

    A weight difference is returned as it is: the sign and the shape of a gradient, but not its size.

    Raises:
        AttackFailed: There is no such layer, or its gradient is zero or not finite.
    """
    found, tensors = find_head(seen), seen.update.tensors
    head = Head(
        tensors[found.weight].flatten(1) if found.weight else None,
        tensors[found.bias].flatten() if found.bias else None,
        found.exact,
    )
    values = [tensor for tensor in (head.rows, head.bias) if tensor is not None]
    if not all(torch.isfinite(tensor).all() for tensor in values):
        raise AttackFailed("the gradient of the last layer holds NaN or infinity, so no label can be read off it.")
    if not any(tensor.any() for tensor in values):
        raise AttackFailed("the gradient of the last layer is zero, so no label can be read off it.")
    return head


def mean_head(seen: Observation) -> Head:
    """The head's gradient in its true size, averaged over the local steps, in double precision on the CPU.

    Raises:
        AttackFailed: As `double_head`, or the update is a weight difference and the adversary does not know by what it
            was multiplied.
    """
    scale = displacement(seen)
    return double_head(seen).map(lambda tensor: tensor / scale)


def double_head(seen: Observation) -> Head:
    """`head_gradient` in double precision on the CPU, for rules that do not care for its size.

    Raises:
        AttackFailed: As `head_gradient`, or it has only the signs of p - y.
    """
    head = signed_head(seen)
    if not head.exact:
        raise AttackFailed(
            "something between the last layer and the model's logits, such as ReLU, scales its gradient class by "
            "class, so that only the signs say something. Take bias-sign."
        )
    return head


def signed_head(seen: Observation) -> Head:
    """`head_gradient` in double precision on the CPU, for rules that read nothing but signs."""
    return head_gradient(seen).map(lambda tensor: tensor.double().cpu())


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


def _shared(seen: Observation, name: str | None) -> str | None:
    return name if name in seen.update.tensors else None
