"""The tensors of an update beside the model's parameters and buffers."""

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
        unshared: Trainable parameters that the file does not hold.
        frozen: Parameters that are not trained, whether the file holds them or not.
        unreached: Parameters for which the file holds a `None`, taken as zeros.
        stored: Name of a parameter -> precision in the file, such as `float16`.
        wrapped: Names in the file carried the prefix of a wrapper.
        positional: The file held no names; the tensors were matched by their order.
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
    """The file's tensors under the model's names; a `None` for a parameter is a gradient of zeros.

    Args:
        model: Whose named_parameters and named_buffers count.
        file: As it was read.

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
    """Whether `fit` would find a place for every tensor."""
    try:
        fit(model, file)
    except AuditError:
        return False
    return True
