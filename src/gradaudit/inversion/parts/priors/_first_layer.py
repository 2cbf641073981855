"""The layer that the input enters, and what its gradients say of the input's channel means."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....client.observation import Observation
from ....models.copying import private_copy
from ....values.errors import AttackFailed


def means_from_gradient(seen: Observation) -> Tensor:
    """An estimate of the channel means `[C]` of the batch, in normalised space, from the first layer's gradients.

    A row o of the first layer has ∂L/∂W_o = Σ d x and ∂L/∂b_o = Σ d, over examples and, in a convolution, places. So
    the ratio of the two is an average of the input with weights that sum to 1 and may be negative (Phong et al., 2018,
    for one example and a linear layer, where it is the input itself); averaged over the kernel or the pixels of a
    channel it estimates the channel's mean. All rows are used by least squares: m_c = Σ_o b_o W_oc / Σ_o b_o², with
    W_oc the mean of ∂L/∂W_o over channel c. Zero padding draws it a little towards 0; of a batch it is an average over
    the examples by their residuals, not by equal shares.

    Raises:
        AttackFailed: The first layer is none of ours, has no trainable bias, or its gradients are zero.
    """
    name, layer = _first_layer(seen)
    weight, bias = (seen.update.tensors.get(f"{name}.{kind}") for kind in ("weight", "bias"))
    if bias is None or weight is None:
        raise AttackFailed(
            f"the first layer ({name}) shares no gradient of a bias, so it says nothing of the channel means. "
            "Take ChannelMeans(source='public')."
        )
    channels = seen.input_shape[0]
    rows = weight.flatten(2).mean(2) if isinstance(layer, nn.Conv2d) else weight.unflatten(1, (channels, -1)).mean(2)
    if not bias.square().sum() > 0:
        raise AttackFailed(f"the gradient of the first layer's bias ({name}) is zero: nothing can be divided by it.")
    return (bias.unsqueeze(1) * rows).sum(0) / bias.square().sum()


@torch.no_grad()
def _first_layer(seen: Observation) -> tuple[str, nn.Module]:
    """Name and module of the convolution or linear layer whose input is the model's."""
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
        raise AttackFailed("no convolution or linear layer takes the input as it is, so no ratio gives its means.")
    return found[0]
