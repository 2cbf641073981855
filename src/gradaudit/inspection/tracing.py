"""A traced pass of a model: which layers run, in which order, on what, and the derivatives in their outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models.copying import private_copy
from ..protocol.local_training.losses import tensors_of
from ..protocol.observation import HALVES
from ..values.errors import AuditError, guarded


@dataclass(frozen=True, eq=False)
class LayerPass:
    """One layer with parameters of its own, in a traced pass.

    Args:
        name: Path of the layer.
        module: The layer.
        parameters: Its own parameters.
        inputs: The first tensor that entered it in each call, `[B, ...]`.
        slopes: Derivative of a random measure of the model's output in the first tensor that left it in each call; zero
            where the output does not depend on it.
        gradients: Derivative of the same measure in its parameters, by name; none for a frozen or unused one.
    """

    name: str
    module: nn.Module
    parameters: Mapping[str, nn.Parameter]
    inputs: tuple[Tensor, ...]
    slopes: tuple[Tensor, ...]
    gradients: Mapping[str, Tensor]

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Its own parameters that are trained."""
        return {name: value for name, value in self.parameters.items() if value.requires_grad}

    def path(self, parameter: str) -> str:
        """Return the name of one of its parameters in the model."""
        return f"{self.name}.{parameter}" if self.name else parameter


@dataclass(frozen=True, eq=False)
class ModelTrace:
    """A traced pass.

    Args:
        model: The private copy that ran.
        inputs: The inputs, `[B, ...]`.
        output: The model's output.
        layers: The layers, in the order of their first call; those that were not called come last.
    """

    model: nn.Module
    inputs: Tensor
    output: Any
    layers: tuple[LayerPass, ...]


class _Call(NamedTuple):
    module: nn.Module
    entered: Tensor | None
    left: Tensor | None


def runnable(model: nn.Module) -> nn.Module:
    """Return a private copy on the CPU in evaluation mode, in single precision if the model has half precision."""
    copied = private_copy(model).cpu().eval()
    halves = any(value.dtype in HALVES for value in (*copied.parameters(), *copied.buffers()))
    return copied.float() if halves else copied


def trace(model: nn.Module, inputs: Tensor) -> ModelTrace:
    """Return a traced pass of a model in evaluation mode.

    Args:
        model: The model, as `runnable` returns it; its hooks are removed afterwards.
        inputs: `[B, ...]`.

    Raises:
        AuditError: The model raised an exception, or its output depends on nothing that can be trained.
    """
    own = {module: dict(module.named_parameters(recurse=False)) for module in model.modules()}
    paths = {module: name for name, module in model.named_modules() if own[module]}
    calls: list[_Call] = []
    hooks = [module.register_forward_hook(_watcher(calls), with_kwargs=True) for module in paths]
    probe = inputs.clone().requires_grad_(inputs.is_floating_point())
    try:
        with torch.enable_grad(), guarded(f"model: it cannot take inputs of shape {list(inputs.shape[1:])}"):
            output = model(probe.clone())  # the model may work in place
    finally:
        for hook in hooks:
            hook.remove()
    reached = _reached(output, calls, [value for module in paths for value in own[module].values()])
    called = list(dict.fromkeys(call.module for call in calls))
    layers = []
    for module in [*called, *(module for module in paths if module not in set(called))]:
        mine = [call for call in calls if call.module is module]
        layers.append(
            LayerPass(
                paths[module],
                module,
                own[module],
                tuple(call.entered.detach() for call in mine if call.entered is not None),
                tuple(reached[id(call.left)] for call in mine if call.left is not None),
                {name: reached[id(value)] for name, value in own[module].items() if id(value) in reached},
            )
        )
    return ModelTrace(model, inputs, output, tuple(layers))


def _watcher(calls: list[_Call]) -> Callable[..., Any]:
    """Return a hook that writes down what enters and leaves a module.

    The module's output is replaced by a copy, so that an activation that works in place leaves the one written down.
    """

    def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        entered = next(iter(tensors_of([*args, *kwargs.values()])), None)
        left = next((one for one in tensors_of(output) if one.is_floating_point()), None)
        if left is None or not isinstance(output, Tensor):
            calls.append(_Call(module, entered, left if left is not None and left.requires_grad else None))
            return output
        left = left if left.requires_grad else left.detach().requires_grad_()
        calls.append(_Call(module, entered, left))
        return left.clone()

    return see


def _reached(output: Any, calls: list[_Call], parameters: list[nn.Parameter]) -> dict[int, Tensor]:
    """Return the derivative of a random measure of the output, by the id of the tensor it is taken in."""
    generator = torch.Generator().manual_seed(0)
    ends = [one for one in tensors_of(output) if one.is_floating_point() and one.requires_grad]
    if not ends:
        raise AuditError("model: its output has no gradient, so nothing of it is trained; unfreeze its parameters.")
    measure = sum((one * torch.randn(one.shape[1:], generator=generator).to(one)).sum() for one in ends)
    left = [call.left for call in calls if call.left is not None]
    trained = [value for value in parameters if value.requires_grad]
    found = torch.autograd.grad(measure, [*left, *trained], allow_unused=True)  # type: ignore[arg-type]
    reached = {id(one): torch.zeros_like(one) for one in left}
    reached |= {id(one): slope for one, slope in zip([*left, *trained], found, strict=True) if slope is not None}
    return reached
