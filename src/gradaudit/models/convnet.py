"""The plain convolutional network of Inverting Gradients."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from ..values.errors import AuditError
from ..values.types import Modality
from ._named import NamedModel


def convnet_64(num_classes: int, channels: int, size: int) -> nn.Module:
    """The ConvNet of width 64 of Geiping et al. (2020): eight 3x3 convolutions with BatchNorm, two max-pools of 3.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels, at least 9.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.

    Raises:
        AuditError: The images are too small for the two pools.
    """
    if size < 9:
        raise AuditError(f"convnet-64: images must be at least 9 pixels wide, got {size}.")
    width = 64
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    entering = channels
    for i, leaving in enumerate(width * factor for factor in (1, 2, 2, 4, 4, 4, 4, 4)):
        if i in (6, 7):
            layers[f"pool{i - 6}"] = nn.MaxPool2d(3)
        layers[f"conv{i}"] = nn.Conv2d(entering, leaving, 3, padding=1)
        layers[f"norm{i}"] = nn.BatchNorm2d(leaving)
        layers[f"relu{i}"] = nn.ReLU()
        entering = leaving
    layers["flatten"] = nn.Flatten()
    layers["linear"] = nn.Linear(entering * (size // 3 // 3) ** 2, num_classes)
    return nn.Sequential(layers)


MODEL = NamedModel("convnet-64", Modality.PICTURES, convnet_64)
