"""The convolutional network of Deep Leakage from Gradients."""

from __future__ import annotations

from torch import nn

from ..values.types import Modality
from ._named import NamedModel

CHANNELS = 12


def lenet(num_classes: int, channels: int, size: int) -> nn.Module:
    """The "LeNet" of DLG (Zhu et al., 2019): twice differentiable, and easy to invert.

    It has three 5x5 convolutions with 12 channels (strides 2, 2, 1) and sigmoids, and one linear layer. All weights and
    biases are drawn from U(-0.5, 0.5).

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    features = CHANNELS * _halved(_halved(size)) ** 2
    model = nn.Sequential(
        nn.Conv2d(channels, CHANNELS, 5, stride=2, padding=2),
        nn.Sigmoid(),
        nn.Conv2d(CHANNELS, CHANNELS, 5, stride=2, padding=2),
        nn.Sigmoid(),
        nn.Conv2d(CHANNELS, CHANNELS, 5, stride=1, padding=2),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(features, num_classes),
    )
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def _halved(size: int) -> int:
    """Return the side after a 5x5 convolution with stride 2 and padding 2."""
    return (size - 1) // 2 + 1


MODEL = NamedModel("lenet", Modality.PICTURES, lenet)
