"""The convolutional network of the FedAvg paper."""

from __future__ import annotations

from torch import nn

from ..values.errors import AuditError
from ..values.types import Modality
from ._named import NamedModel


def fedavg_cnn(num_classes: int, channels: int, size: int) -> nn.Module:
    """The CNN of McMahan et al. (2017, section 3): two 5x5 convolutions (32, 64), each max-pooled, then 512 units.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels, at least 4.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.

    Raises:
        AuditError: The images are too small for the two pools.
    """
    if size < 4:
        raise AuditError(f"fedavg-cnn: images must be at least 4 pixels wide, got {size}.")
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (size // 2 // 2) ** 2, 512),
        nn.ReLU(),
        nn.Linear(512, num_classes),
    )


MODEL = NamedModel("fedavg-cnn", Modality.PICTURES, fedavg_cnn)
