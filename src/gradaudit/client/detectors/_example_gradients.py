"""Loss and gradient norm of every example of the client's batch, in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...protocol.local_training import rules_of
from ...values.errors import guarded
from ..received import Received


class ExampleGradients(NamedTuple):
    """What each example of a batch contributes.

    Args:
        losses: `[B]`.
        norms: Name of a weight of two or more dimensions -> `[B]`, the L2 norm of each example's gradient in it.
        total: `[B]`, the L2 norm over all trained parameters.
    """

    losses: Tensor
    norms: Mapping[str, Tensor]
    total: Tensor


_computed: WeakKeyDictionary[Received, ExampleGradients] = WeakKeyDictionary()
"""Results by received model, which goes with it: several detectors share one computation."""


def example_gradients(received: Received) -> ExampleGradients:
    """Return the loss and the gradient norms of every example of the batch.

    Raises:
        AuditError: The model or the loss cannot take the batch.
    """
    if received not in _computed:
        _computed[received] = _gradients(received)
    return _computed[received]


def _gradients(received: Received) -> ExampleGradients:
    model = received.model
    assert model is not None
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    losses, rows = [], []
    with torch.enable_grad():
        for loss in _losses(received, model):
            found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True) if trained else ()
            losses.append(float(loss.detach()))
            rows.append([0.0 if one is None else float(one.double().norm()) for one in found])
    table = torch.tensor(rows, dtype=torch.float64)
    norms = {name: table[:, place] for place, (name, value) in enumerate(trained.items()) if value.ndim > 1}
    return ExampleGradients(torch.tensor(losses, dtype=torch.float64), norms, table.norm(dim=1))


def losses_with(received: Received, weights: Mapping[str, Tensor]) -> Tensor:
    """Return the loss of every example, `[B]`, with other weights of the client's own architecture.

    Raises:
        AuditError: The model or the loss cannot take the batch.
    """
    model = received.model
    assert model is not None

    class _With(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return functional_call(model, dict(weights), (inputs,))  # type: ignore[no-any-return]

    with torch.no_grad():
        return torch.tensor([float(loss) for loss in _losses(received, _With())], dtype=torch.float64)


def _losses(received: Received, model: nn.Module) -> Iterator[Tensor]:
    """Yield the loss of every example."""
    inputs, labels = received.inputs, received.labels
    assert inputs is not None
    assert labels is not None
    rules = rules_of(received.loss)
    for example in range(len(inputs)):
        one, label = inputs[example : example + 1].clone(), labels[example : example + 1]
        with guarded("model: it cannot take one example of the batch"):
            output = model(one)
        rules.require_output(output, 1, "model")
        rules.require_labels(output, label, "model")
        yield received.loss(output, label)


def d_snr(norms: Tensor) -> float | None:
    """Return the D-SNR of one layer: max a_i / (sum of a_i - max a_i) over the examples i of a batch.

    Args:
        norms: `[B]`, the L2 norm a_i of the gradient of each example in the layer's weight.

    Returns:
        The ratio, infinite if only one example has a gradient, `None` for one example or without any gradient (Garov et
        al., 2024: "Hiding in plain sight").
    """
    largest, rest = float(norms.max()), float(norms.sum() - norms.max())
    if len(norms) < 2 or largest == 0:
        return None
    return largest / rest if rest > 0 else math.inf
