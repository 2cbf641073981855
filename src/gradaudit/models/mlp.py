"""The fully connected network of the FedAvg paper."""

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


MODEL = NamedModel("mlp", Modality.PICTURES, mlp)
