"""Fully connected networks: that of the FedAvg paper, and one of four layers."""

from __future__ import annotations

from torch import nn

from ..values.types import Modality
from ._named import NamedModel


def mlp(num_classes: int, channels: int, size: int) -> nn.Module:
    """The 2NN of McMahan et al. (2017, section 3): two hidden layers of 200 units with ReLU.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 200),
        nn.ReLU(),
        nn.Linear(200, 200),
        nn.ReLU(),
        nn.Linear(200, num_classes),
    )


def mlp_4(num_classes: int, channels: int, size: int) -> nn.Module:
    """Four linear layers: three hidden ones of 256 units with ReLU.

    Wang, Liang and He (ICLR blog posts 2024) attack a 4-layer MLP. They do not state its width or its activation.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    hidden: list[nn.Module] = []
    for width in (channels * size * size, 256, 256):
        hidden += [nn.Linear(width, 256), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(256, num_classes))


MODEL = NamedModel("mlp", Modality.PICTURES, mlp)
FOUR_LAYERS = NamedModel("mlp-4", Modality.PICTURES, mlp_4)
