"""What a received model would give away in closed form if the client trained on it: the linear-bias identity.

The gradient of a linear layer is ∂W = Σ δ_e z_eᵀ and ∂b = Σ δ_e over its inputs z_e. The quotient of a row and its bias
gradient is an input that alone activates the unit (Phong et al., 2018). In an imprint layer, the quotient of the
differences of neighbouring units is an input that alone lies in their bin (Fowl et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..protocol.local_training import rules_of
from ..values.errors import guarded
from .received import Received

SAME = 1e-3  # relative distance up to which a quotient is an input
ALIVE = 1e-6  # smallest divisor, as a share of the largest
CELLS = 2**27  # entries of quotients that are compared
EXAMPLES, FEATURES, TOKENS = "examples", "feature vectors of examples", "tokens or patches"


@dataclass(frozen=True)
class ExactYield:
    """What the gradient of one batch gives away exactly by quotients.

    Args:
        layer: Name of the linear layer that gives away most; empty if there is none.
        found: Number of inputs of the layer that are such a quotient.
        inputs: Number of all its inputs: the examples, or their tokens or patches.
        gives: `"examples"` if the input of the layer holds the example itself, `"feature vectors of examples"`, or
            `"tokens or patches"`.
    """

    layer: str
    found: int
    inputs: int
    gives: str = EXAMPLES

    @property
    def sentence(self) -> str:
        """The same in one sentence."""
        at = f" through {self.layer}" if self.found else ""
        return f"Had you trained on this model, {self.found} of {self.inputs} {self.gives} would have left exactly{at}."


def exact_yield(received: Received) -> ExactYield | None:
    """Return what one gradient of the batch on the received model gives away, or `None` without a model or a batch.

    Without labels, the classes 0, 1, 2, ... are assumed; which examples share a unit does not depend on them.
    The quotients are computed from the gradient alone, in its own precision; only the count compares them with the
    inputs.

    Raises:
        AuditError: The model or the loss cannot take the batch.
    """
    model, inputs, labels = received.model, received.inputs, received.labels
    if model is None or inputs is None:
        return None
    entered: dict[str, list[Tensor]] = {}
    linear = {name: one for name, one in model.named_modules() if isinstance(one, nn.Linear) and one.bias is not None}
    hooks = [one.register_forward_pre_hook(_keeper(name, entered)) for name, one in linear.items()]
    try:
        with torch.enable_grad(), guarded("model: it cannot take the batch"):
            output = model(inputs.clone())
    finally:
        for hook in hooks:
            hook.remove()
    rules_of(received.loss).require_output(output, len(inputs), "model")
    if labels is None:
        labels = torch.arange(len(inputs)) % max(1, rules_of(received.loss).count(output))
    rules_of(received.loss).require_labels(output, labels, "model")
    used = {name: linear[name] for name, calls in entered.items() if len(calls) == 1}
    wanted = [value for one in used.values() for value in (one.weight, one.bias)]
    if not wanted or not all(value.requires_grad for value in wanted):
        return ExactYield("", 0, len(inputs))
    with torch.enable_grad():
        found = torch.autograd.grad(received.loss(output, labels), wanted, allow_unused=True, materialize_grads=True)
    counted = [
        _counted(name, layer, entered[name][0], inputs, pair)
        for (name, layer), pair in zip(used.items(), zip(found[::2], found[1::2], strict=True), strict=True)
    ]
    return max(counted, key=lambda one: (one.gives == EXAMPLES and one.found > 0, one.found))


def _keeper(name: str, entered: dict[str, list[Tensor]]) -> Callable[..., None]:
    def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        entered.setdefault(name, []).append(args[0].detach())

    return see


def _counted(name: str, layer: nn.Linear, entered: Tensor, inputs: Tensor, pair: tuple[Tensor, Tensor]) -> ExactYield:
    """Return how many inputs of a layer are among its quotients."""
    size = len(inputs)
    if entered.ndim < 2 or len(entered) != size:
        return ExactYield(name, 0, size, FEATURES)
    rows = entered.flatten(0, -2).double()
    offered = quotients_of(pair[0], pair[1], layer.bias.detach())
    nearest = torch.full((len(rows),), torch.inf, dtype=torch.float64)
    for part in offered.split(max(1, CELLS // max(1, rows.numel()))) if len(offered) else ():
        nearest = torch.minimum(nearest, torch.cdist(rows, part).amin(1))
    length = rows.norm(dim=1)
    found = int(((nearest <= SAME * length) & (length > 0)).sum())
    gives = TOKENS if entered.ndim > 2 else EXAMPLES if _holds(entered, inputs) else FEATURES
    return ExactYield(name, found, len(rows), gives)


def quotients_of(weight: Tensor, bias: Tensor, own: Tensor) -> Tensor:
    """Return the quotients of all units, and of the differences of units with neighbouring biases, `[r, n]`.

    Args:
        weight: Gradient of the weight, `[m, n]`.
        bias: Gradient of the bias, `[m]`.
        own: The bias of the layer, `[m]`, by which its units are ordered.
    """
    order = own.argsort()
    weight, bias = weight[order].double(), bias[order].double()
    rows, divisors = torch.cat([weight, weight.diff(dim=0)]), torch.cat([bias, bias.diff()])
    alive = divisors.abs() > ALIVE * bias.abs().max()
    return rows[alive] / divisors[alive].unsqueeze(1)


def _holds(entered: Tensor, inputs: Tensor) -> bool:
    """Return whether every channel of an example is a part of the layer's input, as behind LOKI's convolution."""
    if entered.ndim != 2:
        return False
    flat = inputs.flatten(2) if inputs.ndim > 2 else inputs.flatten(1).unsqueeze(1)
    size = flat.shape[2]
    if not inputs.is_floating_point() or entered.shape[1] % size:
        return False
    blocks = entered.view(len(entered), -1, size)
    gaps = torch.cdist(flat.double(), blocks.double()).amin(2)
    return bool((gaps <= SAME * flat.double().norm(dim=2).clamp_min(1e-12)).all())
