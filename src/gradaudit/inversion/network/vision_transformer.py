"""Find the patch embedding, the position embedding and the first attention of a vision transformer.

The layouts of torchvision, timm and transformers are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from ...values.errors import AttackFailed

FUSED = "qkv"
SINGLE = re.compile(r"(q|k|v|query|key|value|to_q|to_k|to_v|q_proj|k_proj|v_proj)$")


class Projections(NamedTuple):
    """The linear maps to queries, keys and values of the first attention.

    Args:
        module: The module whose first argument is the input of all three maps.
        names: Names of their weights, each `[., d]`, together `[3 d, d]`.
    """

    module: nn.Module
    names: tuple[str, ...]


def patch_embedding(model: nn.Module) -> nn.Conv2d:
    """Return the model's first convolution, which must cut the image into squares that do not overlap.

    Raises:
        AttackFailed: The model has no convolution, or its first one is of another kind.
    """
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None:
        side = first.kernel_size[0]
        plain = first.padding in ((0, 0), "valid") and first.dilation == (1, 1) and first.groups == 1
        if side > 1 and first.kernel_size == first.stride == (side, side) and plain:
            return first
    raise AttackFailed(
        f"{type(model).__name__} has no patch embedding: its first convolution does not cut the image into squares."
    )


def position_embedding(names: Iterable[str], part: str = "pos") -> str:
    """Return the first name that contains `part`. Raise `AttackFailed` if the update shares no such tensor."""
    for name in names:
        if part in name:
            return name
    raise AttackFailed(
        f"the update contains no tensor with {part!r} in its name, so no gradient of a learned position embedding: it "
        "is fixed, frozen, or was not shared."
    )


def first_projections(model: nn.Module) -> Projections:
    """Return the projections of the first attention.

    It is an `nn.MultiheadAttention`, one linear layer `qkv`, or three linear layers with the usual names.

    Raises:
        AttackFailed: No such layer was found.
    """
    single: list[tuple[str, nn.Linear]] = []
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            return Projections(module, (f"{name}.in_proj_weight",))
        if isinstance(module, nn.Linear) and last == FUSED:
            return Projections(module, (f"{name}.weight",))
        if isinstance(module, nn.Linear) and SINGLE.match(last):
            single.append((name, module))
            if len(single) == 3:
                return Projections(module, tuple(f"{found}.weight" for found, _ in single))
    raise AttackFailed(
        f"{type(model).__name__} has no attention with known names: MultiheadAttention, qkv, or query, key and value."
    )
