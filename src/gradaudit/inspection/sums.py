"""Signs of noise: sums over the classes that vanish for cross entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import AttackFailed
from ..inversion.labels.head import find_head
from ..observation import Observation
from .layers import resolution
from .values import LayerFacts, Sign

SUMS = 3e-5  # residual of sums that vanish, in units of the head's values, above which something was added


def noised(seen: Observation, layers: Sequence[LayerFacts], disturbed: str = "") -> Sign:
    """Cross entropy's gradients of the last layer sum to zero over the classes; noise does not.

    Σ_k ∂L/∂b_k = 0 and Σ_k ∂L/∂W_kj = 0 for every feature j, because probabilities and one-hot labels both sum to 1.
    Noise of standard deviation σ on each value leaves sums of standard deviation σ √K.

    Args:
        seen: The observation.
        layers: As `layer_facts` gives them.
        disturbed: The sign that explains sums other than zero, where one was found.
    """
    try:
        name, layer = find_head(seen)
    except AttackFailed:
        return Sign("noised", None, 0.0, "The last linear layer does not travel.")
    weight, bias = _head(seen, name)
    if disturbed:
        return Sign("noised", None, 0.0, f"The update is {disturbed}, which disturbs the same sums.")
    joint = weight if bias is None else torch.cat([weight, bias.unsqueeze(1)], 1)
    sums = joint.sum(0)
    level = float(sums.square().mean().sqrt()) / len(joint) ** 0.5
    scale = float(joint.square().mean().sqrt())
    grain = resolution(seen, layer.weight)
    if scale == 0:
        return Sign("noised", None, 0.0, "The last layer's gradient is zero.")
    if level <= max(SUMS * scale, 2 * grain):
        evidence = "The last layer's gradients sum to zero over the classes, as cross entropy has it."
        return Sign("noised", False, 0.99, evidence)
    return _added(layer.weight.detach().cpu().double(), weight, level, scale, _saturated(layers, name))


def _added(own: Tensor, weight: Tensor, level: float, scale: float, full: bool) -> Sign:
    """Noise, or something else that the last layer's gradients do not sum to zero for."""
    sums, weights = weight.sum(0), own.sum(0)
    follows = float(torch.nn.functional.cosine_similarity(sums, weights, dim=0).abs())
    if follows > 0.9:
        evidence = "The last layer's sums follow its weights, which is weight decay."
        return Sign("noised", False, follows, evidence)
    if not full:
        evidence = (
            "The last layer's sums do not vanish, but its rank is low, which noise would fill up: "
            "the loss is not cross entropy, or one-hot labels were not used."
        )
        return Sign("noised", False, 0.8, evidence)
    evidence = (
        "The last layer's gradients do not sum to zero over the classes: noise of standard deviation "
        f"{level:.2g} on each value, {level / scale:.0%} of the layer's own rms."
    )
    return Sign("noised", True, 0.95, evidence, level)


def _saturated(layers: Sequence[LayerFacts], name: str) -> bool:
    return next((entry.saturated for entry in layers if entry.name == name), True)


def _head(seen: Observation, name: str) -> tuple[Tensor, Tensor | None]:
    prefix = f"{name}." if name else ""
    bias = seen.update.tensors.get(f"{prefix}bias")
    return seen.update.tensors[f"{prefix}weight"].double(), None if bias is None else bias.double()
