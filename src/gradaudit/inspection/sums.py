"""Signs of noise: sums over the classes that vanish for cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..inversion.parts.labels._head import find_head
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from .facts import LayerFacts, SignFact
from .layers import resolution

SUMS = 3e-5  # residual of the sums, relative to the values of the last layer, above which something was added


def noised(seen: Observation, layers: Sequence[LayerFacts], disturbed: str = "") -> SignFact:
    """Return the sign of noise: with cross-entropy, the last layer's gradients sum to zero over the classes.

    Σ_k ∂L/∂b_k = 0 and Σ_k ∂L/∂W_kj = 0 for every feature j, because probabilities and one-hot labels both sum to 1.
    Noise of standard deviation σ on each value leaves sums of standard deviation σ √K.

    Args:
        seen: The observation.
        layers: The result of `layer_facts`.
        disturbed: Another sign of a defense that explains non-zero sums, or an empty string.
    """
    try:
        found = find_head(seen)
    except AttackFailed as reason:
        return SignFact("noised", None, 0.0, f"{str(reason)[0].upper()}{str(reason)[1:]}")
    if disturbed:
        return SignFact("noised", None, 0.0, f"The update is {disturbed}, which changes the same sums.")
    if not found.exact:
        return SignFact(
            "noised", None, 0.0, "The last layer's gradient only has the signs of p - y, so its sums say nothing."
        )
    tensors, own = seen.update.tensors, dict(seen.model.named_parameters())
    parts = [tensors[name].double().view(seen.classes, -1) for name in (found.weight, found.bias) if name]
    joint, sums = torch.cat(parts, 1), torch.cat(parts, 1).sum(0)
    level = float(sums.square().mean().sqrt()) / len(joint) ** 0.5
    scale = float(joint.square().mean().sqrt())
    grain = max(resolution(seen, own[name]) for name in (found.weight, found.bias) if name)
    if scale == 0:
        return SignFact("noised", None, 0.0, "The last layer's gradient is zero.")
    if level <= max(SUMS * scale, 2 * grain):
        evidence = "The last layer's gradients sum to zero over the classes, as they do for cross-entropy."
        return SignFact("noised", False, 0.99, evidence)
    if found.weight is None:
        evidence = (
            "The last bias gradient does not sum to zero, but one sum cannot distinguish noise from another loss."
        )
        return SignFact("noised", None, 0.0, evidence)
    weights = own[found.weight].detach().flatten(1).cpu().double()
    return _added(weights, parts[0], level, scale, _saturated(layers, found.weight.rpartition(".")[0]))


def _added(own: Tensor, weight: Tensor, level: float, scale: float, full: bool) -> SignFact:
    """Return the sign of noise, or of another reason why the last layer's gradients do not sum to zero."""
    sums, weights = weight.sum(0), own.sum(0)
    follows = float(torch.nn.functional.cosine_similarity(sums, weights, dim=0).abs())
    if follows > 0.9:
        evidence = "The last layer's sums are proportional to its weights, which indicates weight decay."
        return SignFact("noised", False, follows, evidence)
    if not full:
        evidence = (
            "The last layer's sums do not vanish, but its rank is low, and noise would make it full: "
            "the loss is not cross-entropy, or one-hot labels were not used."
        )
        return SignFact("noised", False, 0.8, evidence, other_loss=True)
    evidence = (
        "The last layer's gradients do not sum to zero over the classes: noise of standard deviation "
        f"{level:.2g} on each value, {level / scale:.0%} of the layer's RMS."
    )
    return SignFact("noised", True, 0.95, evidence, level)


def _saturated(layers: Sequence[LayerFacts], name: str) -> bool:
    return next((entry.saturated for entry in layers if entry.name == name), True)
