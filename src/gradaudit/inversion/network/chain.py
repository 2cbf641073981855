"""A model as a chain of linear layers, convolutions and activations, for attacks that undo one layer after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ...values.errors import AttackFailed

EDGE = 1e-12  # distance of a saturated sigmoid from 0 and 1
NOISE = 3.0  # a ReLU is active above so many times the largest negative value of its recovered output
PASSED = (nn.Flatten, nn.Identity, nn.Dropout, nn.Dropout2d)


class Link(NamedTuple):
    """One layer of a chain.

    Args:
        name: Path of the layer in the model.
        layer: The layer, in double precision on the CPU.
        shape: Shape of what enters it, of one example.
        activations: The activations between it and the next layer.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    shape: tuple[int, ...]
    activations: tuple[nn.Module, ...]

    @property
    def weight(self) -> str:
        """Name of the layer's weight."""
        return f"{self.name}.weight" if self.name else "weight"

    @property
    def bias(self) -> str:
        """Name of the layer's bias."""
        return f"{self.name}.bias" if self.name else "bias"


def chain_of(model: nn.Module, shape: tuple[int, ...]) -> tuple[Link, ...]:
    """Return the layers of a private copy of the model, in the order in which they run.

    Args:
        model: The model.
        shape: Shape of one example.

    Raises:
        AttackFailed: The model has a layer that cannot be undone, or is more than its layers one after another.
    """
    model = private_copy(model).double().cpu().eval()
    probe = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    calls: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(name: str) -> Callable[..., None]:
        return lambda module, args, _: calls.append((name, module, tuple(args[0].shape[1:]) if args else ()))

    hooks = [module.register_forward_hook(note(name)) for name, module in model.named_modules() if _leaf(module)]
    with torch.no_grad():
        output = model(probe.clone())
    for hook in hooks:
        hook.remove()
    links: list[Link] = []
    for name, module, entering in calls:
        if isinstance(module, nn.Conv2d | nn.Linear):
            _require_plain(name, module, links)
            links.append(Link(name, module, entering, ()))
        elif type(module) in INVERSES and links:
            links[-1] = links[-1]._replace(activations=(*links[-1].activations, module))
        elif not isinstance(module, PASSED):
            raise AttackFailed(f"layer {name} ({type(module).__name__}) cannot be undone, so that no input follows.")
    if not links or not _gives(links, probe, output):
        raise AttackFailed(
            "the model is not a chain of linear layers, convolutions and activation modules: its output is not theirs "
            "one after another (a residual connection, or a function such as relu instead of a module)."
        )
    return tuple(links)


def undone(activation: nn.Module, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the input of an activation with this output, its derivative there, and which inputs are known.

    The input of an inactive ReLU is unknown (and returned as -1), but its derivative is 0.
    """
    value, known = INVERSES[type(activation)](activation, output)
    with torch.enable_grad():
        value = value.detach().requires_grad_()
        (slope,) = torch.autograd.grad(activation(value.clone()).sum(), value)  # a clone: it may work in place
    return value.detach(), slope, known


def homogeneous(links: tuple[Link, ...]) -> bool:
    """Return whether the logits of a scaled input are the scaled logits: no bias, and activations linear in pieces."""
    bare = all(link.layer.bias is None for link in links)
    return bare and all(isinstance(one, nn.ReLU | nn.LeakyReLU) for link in links for one in link.activations)


def _leaf(module: nn.Module) -> bool:
    return not any(module.children())


def _gives(links: list[Link], x: Tensor, output: Any) -> bool:
    """Return whether the layers, one after another, give this output for the inputs x."""
    with torch.no_grad():
        for link in links:
            if x[0].numel() != math.prod(link.shape):
                return False
            x = link.layer(x.reshape(len(x), *link.shape))
            for activation in link.activations:
                x = activation(x)
    return isinstance(output, Tensor) and x.shape == output.shape and torch.allclose(x, output)


def _require_plain(name: str, layer: nn.Conv2d | nn.Linear, before: list[Link]) -> None:
    if any(layer is link.layer for link in before):
        raise AttackFailed(f"layer {name} is used twice, so that its gradient is a sum.")
    if isinstance(layer, nn.Conv2d) and (
        layer.groups > 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str)
    ):
        raise AttackFailed(
            f"layer {name}: only convolutions with one group and a number of zeros as padding are undone."
        )


def _all(output: Tensor) -> Tensor:
    return torch.ones_like(output, dtype=torch.bool)


def _relu(_: Any, output: Tensor) -> tuple[Tensor, Tensor]:
    active = output > NOISE * (-output).max().clamp_min(0)
    return torch.where(active, output, -1), active


def _leaky(activation: nn.LeakyReLU, output: Tensor) -> tuple[Tensor, Tensor]:
    slope = activation.negative_slope
    if slope == 0:
        return _relu(activation, output)
    if slope < 0:
        raise AttackFailed(f"LeakyReLU with slope {slope} cannot be undone.")
    return torch.where(output < 0, output / slope, output), _all(output)


def _sigmoid(_: Any, output: Tensor) -> tuple[Tensor, Tensor]:
    return torch.logit(output, EDGE), _all(output)


def _tanh(_: Any, output: Tensor) -> tuple[Tensor, Tensor]:
    return torch.atanh(output.clamp(EDGE - 1, 1 - EDGE)), _all(output)


INVERSES: dict[type[nn.Module], Callable[[Any, Tensor], tuple[Tensor, Tensor]]] = {
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky,
    nn.Sigmoid: _sigmoid,
    nn.Tanh: _tanh,
}
"""Activation -> its inverse: the inputs, and which of them are known."""
