"""The first layer of a model if it is linear and takes the whole example, and which neurons an example activates."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ...protocol.local_training.losses import tensors_of
from ...protocol.observation import Observation
from ...values.errors import AttackFailed

TWICE = "the first linear layer is called more than once in a forward pass"
FIRST = "its first layer is not linear, or takes something else than the example (only a Flatten may come before it)"


class FirstLinear(NamedTuple):
    """The layer, on a private copy of the model in double precision on the CPU.

    Args:
        name: Path of the layer.
        layer: The layer `[m, n]`.
        model: The copy, in evaluation mode.
    """

    name: str
    layer: nn.Linear
    model: nn.Module

    def gradients(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """Return ∂L/∂W `[m, n]` and ∂L/∂b `[m]` of the layer in an update, in double precision on the CPU.

        Raises:
            AttackFailed: The layer has no bias, or a gradient is not shared or not finite, or that of the bias is zero.
        """
        if self.layer.bias is None:
            raise AttackFailed(f"the first linear layer ({self.name}) has no bias, so that there is no divisor.")
        prefix = f"{self.name}." if self.name else ""
        for kind in ("weight", "bias"):
            if f"{prefix}{kind}" not in seen.update.tensors:
                raise AttackFailed(f"the update contains no gradient of {prefix}{kind}.")
        weight, bias = (seen.update.tensors[f"{prefix}{kind}"].double().cpu() for kind in ("weight", "bias"))
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise AttackFailed("the gradient of the first layer contains NaN or infinity.")
        if not bias.any():
            raise AttackFailed(f"the bias gradient of the first layer ({self.name}) is zero: no neuron is active.")
        return weight, bias

    def slopes(self, inputs: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the derivative of a measure of the model's output in the output of the layer, `[N, m]`.

        Args:
            inputs: `[N, ...]`, normalised.
            measure: Function from the output to a scalar.
        """
        reached: list[Tensor] = []

        def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
            reached.append(output)
            return output.clone()  # an activation that works in place would change the one that is kept

        hook = self.layer.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                given = inputs.clone().requires_grad_()  # the output of a frozen layer has a derivative only then
                value = measure(self.model(given.clone()))
                slopes = torch.autograd.grad(value, reached[0], allow_unused=True, materialize_grads=True)[0]
        finally:
            hook.remove()
        return slopes.reshape(len(inputs), -1)

    def active(self, inputs: Tensor) -> Tensor:
        """Return whether each neuron of the layer changes the output for each example, `[N, m]`."""

        def mixed(output: Tensor) -> Tensor:
            generator = torch.Generator().manual_seed(0)
            return sum(
                (one * torch.randn(one.shape[1:], generator=generator).to(one)).sum() for one in tensors_of(output)
            )  # type: ignore[return-value]

        return self.slopes(inputs, mixed) != 0


def first_linear(model: nn.Module, shape: tuple[int, ...]) -> FirstLinear:
    """Return the linear layer that takes the flattened example.

    Args:
        model: The model; a private copy is run.
        shape: Shape of one example.

    Raises:
        AttackFailed: The model has no such layer, or calls it more than once.
    """
    model = private_copy(model).double().cpu().eval()
    probe = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    taking: list[str] = []
    called: list[str] = []

    def note(name: str) -> Callable[..., None]:
        def see(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            called.append(name)
            flat = args[0].flatten(1) if args[0].ndim else args[0]
            if args[0].ndim == 2 and flat.shape == (2, probe[0].numel()) and torch.equal(flat, probe.flatten(1)):
                taking.append(name)

        return see

    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in linear.items()]
    with torch.no_grad():
        model(probe.clone())  # the model may work in place
    for hook in hooks:
        hook.remove()
    if not taking:
        raise AttackFailed(f"{type(model).__name__}: {FIRST}.")
    if called.count(taking[0]) > 1:
        raise AttackFailed(f"{type(model).__name__}: {TWICE}.")
    return FirstLinear(taking[0], linear[taking[0]], model)
