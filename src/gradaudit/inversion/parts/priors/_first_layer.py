"""Estimate the input's channel means from the gradients of the first layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....models.copying import private_copy
from ....protocol.observation import Observation
from ....values.errors import AttackFailed


def means_from_gradient(seen: Observation) -> Tensor:
    """Return an estimate of the batch's channel means `[C]`, in normalised space, from the first layer's gradients.

    A row o of the first layer has ∂L/∂W_o = Σ d x and ∂L/∂b_o = Σ d, summed over examples and, in a convolution,
    positions. The ratio of the two is an average of the input with weights that sum to 1 and may be negative (Phong et
    al., 2018, for one example and a linear layer, where it is the input itself). Averaged over the kernel or the pixels
    of a channel, it estimates the channel's mean. All rows are combined by least squares: m_c = Σ_o b_o W_oc / Σ_o
    b_o², with W_oc the mean of ∂L/∂W_o over channel c. Zero padding biases the estimate slightly towards 0. For a batch
    it weighs the examples by their residuals, not equally.

    Raises:
        AttackFailed: No first layer is found, it has no trainable bias, or its gradients are zero.
    """
    name, layer = _first_layer(seen)
    weight, bias = (seen.update.tensors.get(f"{name}.{kind}") for kind in ("weight", "bias"))
    if bias is None or weight is None:
        raise AttackFailed(
            f"the first layer ({name}) shares no gradient of a bias, so it does not reveal the channel means. "
            "Choose ChannelMeans(source='public')."
        )
    channels = seen.input_shape[0]
    rows = weight.flatten(2).mean(2) if isinstance(layer, nn.Conv2d) else weight.unflatten(1, (channels, -1)).mean(2)
    if not bias.square().sum() > 0:
        raise AttackFailed(f"the gradient of the first layer's bias ({name}) is zero, so no ratio can be taken.")
    return (bias.unsqueeze(1) * rows).sum(0) / bias.square().sum()


@torch.no_grad()
def _first_layer(seen: Observation) -> tuple[str, nn.Module]:
    """Return the name and module of the convolution or linear layer whose input is the model's input."""
    model = private_copy(seen.model).eval()
    probe = torch.rand(2, *seen.input_shape, dtype=next(model.parameters()).dtype, device=seen.device)
    found: list[tuple[str, nn.Module]] = []

    def keep(name: str, layer: nn.Module, entered: Tensor) -> None:
        same = entered.numel() == probe.numel() and torch.equal(entered.flatten(1), probe.flatten(1))
        if same and getattr(layer, "groups", 1) == 1:
            found.append((name, layer))

    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_pre_hook(lambda layer, entered, name=name: keep(name, layer, entered[0]))
    model(probe)
    if not found:
        raise AttackFailed("no convolution or linear layer takes the input unchanged, so its means are undecidable.")
    return found[0]
