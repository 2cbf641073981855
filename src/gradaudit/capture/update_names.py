"""The tensors of an update under the names of the model's parameters and buffers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..values.errors import AuditError
from ..values.tensor_files import TensorFile, place


@dataclass(frozen=True, eq=False)
class UpdateParts:
    """The tensors of a file under the model's own names, in the model's order.

    Args:
        parameters: Name -> tensor.
        buffers: Name -> tensor.
        unshared: Trainable parameters that the file does not contain.
        frozen: Parameters that are not trained, whether the file contains them or not.
        unreached: Parameters for which the file contains `None`, treated as zeros.
        stored: Name of a parameter -> precision in the file, such as `float16`.
        wrapped: Whether names in the file had the prefix of a wrapper.
        positional: Whether the file had no names, so that tensors were matched by their order.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    unshared: tuple[str, ...]
    frozen: tuple[str, ...]
    unreached: tuple[str, ...] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    wrapped: bool = False
    positional: bool = False


def fit(model: nn.Module, file: TensorFile) -> UpdateParts:
    """Return the tensors of the file under the model's names; `None` for a parameter is a gradient of zeros.

    Args:
        model: The model with the parameters and buffers.
        file: The contents of the file.

    Raises:
        AuditError: The tensors do not fit the model.
    """
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    placed = place(model, {**parameters, **buffers}, file, "update", whole=False)
    zeros = {name: torch.zeros_like(parameters[name], device="cpu") for name in placed.absent if name in parameters}
    found = {**placed.tensors, **{name: value.detach() for name, value in zeros.items()}}
    trained = [name for name, value in parameters.items() if value.requires_grad]
    shared = {name: found[name] for name in trained if name in found}
    return UpdateParts(
        shared,
        {name: placed.tensors[name] for name in buffers if name in placed.tensors},
        tuple(name for name in trained if name not in found),
        tuple(name for name in parameters if name not in trained),
        tuple(zeros),
        {name: file.stored[placed.sources[name]] for name in shared if name not in zeros},
        placed.wrapped,
        placed.positional,
    )


def fits(model: nn.Module, file: TensorFile) -> bool:
    """Return whether every tensor of the file fits the model."""
    try:
        fit(model, file)
    except AuditError:
        return False
    return True
