"""Layers of a model as defenses find and replace them."""

from __future__ import annotations

from torch import nn

from ...values.errors import AuditError
from ._defense import Defense


def last_linear(model: nn.Module, defense: Defense) -> str:
    """Return the name of the last `Linear` layer in the order in which the model defines its layers.

    Raises:
        AuditError: The model has no such layer.
    """
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise AuditError(f"{defense.name}: {type(model).__name__} has no Linear layer, which this defense acts on.")
    return found[-1]


def replace_layer(model: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """Put `layer` in the place of the layer `name`, in `model` itself, and return the model.

    The name of the model itself is empty; the new layer is then returned.
    """
    if not name:
        return layer
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)
    return model
