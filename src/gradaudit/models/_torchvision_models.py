"""Any classifier of torchvision by its torchvision name, with fresh weights."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from ..values.errors import AuditError
from ._causes import in_one_line


def names() -> list[str]:
    """Return the names of torchvision's classifiers, sorted."""
    return torchvision.models.list_models(module=torchvision.models)


def torchvision_model(name: str, num_classes: int, channels: int, size: int, *, cifar_stem: bool = False) -> nn.Module:
    """Return a classifier of torchvision with fresh weights.

    Args:
        name: One of `names()`.
        num_classes: K.
        channels: Channels of the images; unless they are 3, the first convolution is replaced by a new one.
        size: Side of the images in pixels; vision transformers are built for this size.
        cifar_stem: For the ResNet family: a 3x3 convolution of stride 1 and no max-pool at the start, as is usual for
            images of 32 pixels.

    Returns:
        A model from `[B, channels, size, size]` to logits `[B, K]`.

    Raises:
        AuditError: The family has no such stem, the first convolution cannot be replaced, or torchvision refuses.
        NotImplementedError: The model reads its own parameters while it is built, and torch's device is `meta`.
    """
    try:
        model = torchvision.models.get_model(
            name, weights=None, num_classes=num_classes, **_special_arguments(name, size)
        )
    except NotImplementedError:
        raise
    except (ValueError, RuntimeError, AssertionError, ArithmeticError, MemoryError) as error:
        raise AuditError(f"{name}: torchvision cannot build it for {size} pixels: {in_one_line(error)}") from error
    if cifar_stem:
        if not isinstance(model, torchvision.models.ResNet):
            raise AuditError(f"{name}: cifar_stem is for torchvision's resnet, resnext and wide_resnet models only.")
        model.maxpool = nn.Identity()
        model.conv1 = nn.Conv2d(channels, model.conv1.out_channels, 3, padding=1, bias=False)
        _draw(model.conv1)
    elif channels != 3:
        _change_first_convolution(model, name, channels)
    return model


def pretrained_state(name: str) -> dict[str, Tensor]:
    """Return torchvision's default weights (ImageNet-1k), from its cache or by a download.

    Raises:
        AuditError: There are no weights for this name, or they are not in the cache and cannot be downloaded.
    """
    try:
        weights = torchvision.models.get_model_weights(name).DEFAULT
    except (ValueError, AttributeError) as error:
        raise AuditError(f"weights: torchvision has no pretrained weights for {name}.") from error
    try:
        return dict(weights.get_state_dict(progress=False))
    except (OSError, RuntimeError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise AuditError(
            f"weights: {weights.url} cannot be fetched ({in_one_line(error)}). "
            f"Put {weights.url.rsplit('/', 1)[-1]} into {folder}, or give its path."
        ) from error


def _special_arguments(name: str, size: int) -> dict[str, Any]:
    if name in ("googlenet", "inception_v3"):
        # With auxiliary outputs the training output would be a tuple; initialisation with scipy takes a minute.
        return {"aux_logits": False, "init_weights": False}
    if name.startswith("vit_"):
        return {"image_size": size}
    if name.startswith("maxvit_"):
        return {"input_size": (size, size)}
    return {}


def _change_first_convolution(model: nn.Module, name: str, channels: int) -> None:
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise AuditError(f"{name}: only its three-channel form can be built; the images have {channels} channels.")
    first.in_channels = channels
    first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, channels, *first.kernel_size))
    _draw(first)


def _draw(convolution: nn.Conv2d) -> None:
    """Draw weights by He's initialisation, as for most of torchvision's first layers; the bias is unchanged."""
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
