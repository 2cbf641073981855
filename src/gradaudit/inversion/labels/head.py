"""The last linear layer's share of an update, which is where labels are read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ...errors import AttackFailed
from ...types import Observation


class Head(NamedTuple):
    """Gradient of the classification layer.

    Args:
        weight: `[K, m]`.
        bias: `[K]`, or `None` where the layer has none or it was not shared.
    """

    weight: Tensor
    bias: Tensor | None


def head_gradient(seen: Observation) -> Head:
    """The shared gradient of the last linear layer with K outputs; its bias is looked up by the layer's own name.

    Raises:
        AttackFailed: The model has no such layer, or its weight was not shared.
    """
    shared = seen.update.tensors
    for name, layer in reversed(list(seen.model.named_modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == seen.classes:
            prefix = f"{name}." if name else ""
            if f"{prefix}weight" in shared:
                return Head(shared[f"{prefix}weight"], shared.get(f"{prefix}bias"))
    raise AttackFailed(f"the update holds no linear layer with {seen.classes} outputs, so no label can be read off it.")
