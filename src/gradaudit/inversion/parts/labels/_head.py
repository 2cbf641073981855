"""The gradient of the last layer, from which labels are inferred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ....protocol.local_training import AggregatedTraining, LocalTraining
from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import UpdateKind
from ._search import FoundHead, search

# A feature at most this far below zero, as a share of the largest one, is a rounding error.
ROUNDING = 1e-6


NO_ROWS = (
    "the update contains no weight whose gradient is p - y times features (the last layer's is normalised, is followed "
    "by another layer, or is not shared), and this method infers the labels from it. Choose bias-sign or bias-counts."
)
NO_HEAD = (
    "the update contains no layer with {classes} outputs whose gradient contains p - y, from which labels are "
    "inferred: {why}."
)


@dataclass(frozen=True, eq=False)
class Head:
    """The gradient of the classification layer.

    Args:
        rows: `[K, m]`, (p - y) times the features, or `None` if no such gradient was sent.
        bias: `[K]`, or `None` if the layer has none or it was not shared.
        exact: Whether the bias gradient is p - y itself; otherwise it only has the signs of p - y.
    """

    rows: Tensor | None
    bias: Tensor | None
    exact: bool = True

    @property
    def weight(self) -> Tensor:
        """The gradient of the weight, `[K, m]`. Raises `AttackFailed` if there is none or it is zero."""
        if self.rows is None:
            raise AttackFailed(NO_ROWS)
        if not self.rows.any():
            raise AttackFailed(
                "the gradient of the last layer's weight is zero, and this method infers the labels from it."
            )
        return self.rows

    @property
    def biases(self) -> Tensor:
        """The gradient of the bias, `[K]`. Raises `AttackFailed` if there is none."""
        if self.bias is None:
            raise AttackFailed(
                "the update contains no bias of the last layer, and this method infers the labels from it."
            )
        return self.bias

    @property
    def sums(self) -> Tensor:
        """The sum of every row of the weight's gradient, `[K]`."""
        return self.weight.sum(1)

    def map(self, change: Callable[[Tensor], Tensor]) -> Head:
        """Return a copy with `change` applied to both tensors."""
        rows, bias = (None if tensor is None else change(tensor) for tensor in (self.rows, self.bias))
        return replace(self, rows=rows, bias=bias)


def find_head(seen: Observation) -> FoundHead:
    """Return the shared parameters whose gradients contain p - y.

    Raises:
        AttackFailed: The model has none, or none was shared.
    """
    found = search(seen)
    if found == FoundHead():
        raise AttackFailed(NO_HEAD.format(classes=seen.classes, why="no parameter changes one logit alone"))
    shared = replace(found, weight=_shared(seen, found.weight), bias=_shared(seen, found.bias))
    if shared.weight is None and shared.bias is None:
        names = " and ".join(name for name in (found.weight, found.bias) if name)
        raise AttackFailed(NO_HEAD.format(classes=seen.classes, why=f"the client did not share {names}"))
    return shared


def own_values(seen: Observation) -> tuple[Tensor, Tensor]:
    """Return the head's own weight `[K, m]` and bias `[K]` (zeros if it has none), in double precision on the CPU.

    Raises:
        AttackFailed: `find_head` raises it, or the logits are not weight times features plus bias.
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
    """Return the shared gradient of the layer whose output is the model's logits.

    A weight difference is returned unchanged: it has the sign and the shape of a gradient, but not its size.

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
        raise AttackFailed("the gradient of the last layer contains NaN or infinity, so it reveals no label.")
    if not any(tensor.any() for tensor in values):
        raise AttackFailed("the gradient of the last layer is zero, so it reveals no label.")
    return head


def mean_head(seen: Observation) -> Head:
    """Return the head's gradient in its true size, averaged over the local steps, in double precision on the CPU.

    Raises:
        AttackFailed: `double_head` raises it, or the update is a weight difference and the adversary does not know by
            what it was multiplied.
    """
    scale = displacement(seen)
    return double_head(seen).map(lambda tensor: tensor / scale)


def double_head(seen: Observation) -> Head:
    """Return `head_gradient` in double precision on the CPU, for rules that do not depend on its size.

    Raises:
        AttackFailed: `head_gradient` raises it, or the gradient only has the signs of p - y.
    """
    head = signed_head(seen)
    if not head.exact:
        raise AttackFailed(
            "an operation between the last layer and the model's logits, such as ReLU, scales its gradient class by "
            "class, so that only the signs are informative. Choose bias-sign."
        )
    return head


def signed_head(seen: Observation) -> Head:
    """Return `head_gradient` in double precision on the CPU, for rules that use only signs."""
    return head_gradient(seen).map(lambda tensor: tensor.double().cpu())


def displacement(seen: Observation) -> float:
    """Return the size of an update in units of the mean gradient.

    It is learning rate · steps for a weight difference, and 1 for a gradient. With momentum m, T equal gradients g sum
    to Σ_t (1 - mᵗ) / (1 - m) · g instead of T · g; Nesterov's form has one power of m more. For several clients it is
    the mean, weighted by their examples.

    Raises:
        AttackFailed: The local training is unknown but needed, or it uses Adam, whose update is not a multiple of a
            gradient.
    """
    training = seen.training
    rate = None if training is None else training.learning_rate
    if training is None or rate is None:
        if seen.update.kind is UpdateKind.GRADIENT:
            return 1.0
        raise AttackFailed(
            "the size of the gradient is needed, but a weight difference is scaled by learning rate and steps. "
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
    """Return the number of local steps behind the update.

    For several clients it is the largest number; it is 1 if the adversary knows nothing of the training.
    """
    training = seen.training
    if training is None or training.learning_rate is None:
        return 1
    return training.steps(_examples(seen))


def _examples(seen: Observation) -> int:
    """Return the batch size; raise `AttackFailed` if it is unknown but determines the number of steps."""
    if seen.batch_size is None and seen.training is not None and seen.training.minibatch_size is not None:
        raise AttackFailed("the number of local steps follows from the batch size. Grant BATCH_SIZE.")
    return seen.batch_size or 1


def _shared(seen: Observation, name: str | None) -> str | None:
    return name if name in seen.update.tensors else None
