"""The linear layer that takes the input of a network itself, with its gradient: ∂L/∂W = (∂L/∂Z)ᵀ X for Z = X Wᵀ + b.

Whether a network has such a layer is tested on random inputs, not inferred from names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ...protocol.local_training import batch_norm_mode
from ...protocol.observation import Observation
from ...values.errors import AttackFailed
from ...values.types import Modality

PROBES = 16  # random inputs on which the properties of a layer are tested


@dataclass
class _Calls:
    """Linear layers in the order in which a forward pass calls them, with their inputs."""

    layers: list[nn.Linear] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)

    def __call__(self, layer: nn.Linear, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        self.layers.append(layer)
        self.inputs.append(inputs[0])
        return output.clone()  # the next layer may work in place


class InputLayer:
    """The first linear layer of the client's model, in double precision.

    Attributes:
        weight: ∂L/∂W, `[m, n]`.
        bias: ∂L/∂b, `[m]`.
        precision: Machine precision of the update as the client sent it.

    Args:
        seen: The observation.
        name: Name of the attack in errors.
        seed: Seed of the random inputs.

    Raises:
        AttackFailed: The model has no linear layer that takes its input itself, the layer has no bias, or its gradient
            was not shared or is zero or not finite.
    """

    def __init__(self, seen: Observation, name: str, seed: int = 0) -> None:
        self.seen, self.name = seen, name
        if seen.modality is Modality.TEXT:
            raise AttackFailed(f"{name}: a linear layer takes images or rows, but the client trains on text.")
        self.device = torch.device("cpu") if seen.device.type == "mps" else seen.device
        self.model = private_copy(seen.model).double().to(self.device)
        generator = torch.Generator().manual_seed(seed)
        probes = torch.randn(PROBES, *seen.input_shape, generator=generator, dtype=torch.float64)
        self.probes = seen.normalisation.apply(probes.sigmoid()).to(self.device)
        self.layer = self._found()
        self.weight, self.bias = self._gradients()
        self.precision = torch.finfo(seen.update.values[0].dtype).eps

    def _found(self) -> nn.Linear:
        calls = self._calls(self.probes)
        if not calls.layers:
            raise AttackFailed(f"{self.name}: {type(self.model).__name__} has no linear layer (torch.nn.Linear).")
        layer, entered = calls.layers[0], calls.inputs[0]
        wanted = self.probes.flatten(1)
        if entered.shape != wanted.shape or not torch.allclose(entered, wanted):
            raise AttackFailed(
                f"{self.name}: the first linear layer takes features of the input, not the input itself: another "
                "layer, such as a convolution, stands before it. Choose an attack by gradient matching."
            )
        if sum(one is layer for one in calls.layers) > 1:
            raise AttackFailed(f"{self.name}: the first linear layer is called more than once in a forward pass.")
        return layer

    def _gradients(self) -> tuple[Tensor, Tensor]:
        if self.layer.bias is None:
            raise AttackFailed(
                f"{self.name}: the first linear layer has no bias, whose gradient gives the scale of every example."
            )
        found = []
        for parameter in (self.layer.weight, self.layer.bias):
            names = [name for name, value in self.model.named_parameters() if value is parameter]
            name = next(iter(names), "the first linear layer")
            if name not in self.seen.update.tensors:
                raise AttackFailed(f"{self.name}: the update contains no gradient of {name}.")
            gradient = self.seen.update.tensors[name].to(self.device, torch.float64)
            if not gradient.isfinite().all() or not gradient.any():
                raise AttackFailed(f"{self.name}: the gradient of {name} is zero or not finite.")
            found.append(gradient)
        return found[0], found[1]

    @property
    def size(self) -> tuple[int, int]:
        """Outputs m and inputs n of the layer."""
        return self.weight.shape[0], self.weight.shape[1]

    def pictures(self, inputs: Tensor) -> Tensor:
        """Return examples `[B, n]` in the shape of the model's inputs, of the update's type and on its device."""
        return inputs.unflatten(1, self.seen.input_shape).to(self.seen.update.values[0])

    def _calls(self, inputs: Tensor) -> _Calls:
        calls = _Calls()
        layers = [module for module in self.model.modules() if isinstance(module, nn.Linear)]
        handles = [layer.register_forward_hook(calls) for layer in layers]
        try:
            with batch_norm_mode(self.model, self.seen.batch_norm), torch.enable_grad():
                self.model(inputs.unflatten(1, self.seen.input_shape) if inputs.ndim == 2 else inputs)
        finally:
            for handle in handles:
                handle.remove()
        return calls
