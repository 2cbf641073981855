"""The networks of R-GAP, without biases, whose layers determine their inputs, or just fail to."""

from __future__ import annotations

from torch import nn

from ..values.types import Modality
from ._named import NamedModel

SLOPE = 0.2
NARROW = 20  # filters of the second convolution of CNN6-d; CNN6 has 36


def cnn6(num_classes: int, channels: int, size: int) -> nn.Module:
    """The CNN6 of R-GAP (Zhu & Blaschko, 2021): six convolutions and a linear layer, no biases, LeakyReLU(0.2).

    Args:
        num_classes: K; the paper has one logit and binary cross entropy.
        channels: Channels of the images.
        size: Side of the images in pixels; the paper has 32.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    return _built(num_classes, channels, size, second=36)


def cnn6_d(num_classes: int, channels: int, size: int) -> nn.Module:
    """The CNN6-d of R-GAP (Zhu & Blaschko, 2021): CNN6 with 20 filters in its second layer, too few for full rank.

    Args:
        num_classes: K; the paper has one logit and binary cross entropy.
        channels: Channels of the images.
        size: Side of the images in pixels; the paper has 32.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    return _built(num_classes, channels, size, second=NARROW)


def _built(num_classes: int, channels: int, size: int, second: int) -> nn.Sequential:
    convolutions = (  # filters, kernel, stride, padding
        (12, 4, 2, 2),
        (second, 3, 2, 1),
        (36, 3, 1, 1),
        (36, 3, 1, 1),
        (64, 3, 2, 1),
        (128, 3, 1, 1),
    )
    layers: list[nn.Module] = []
    for filters, kernel, stride, padding in convolutions:
        layers += [nn.Conv2d(channels, filters, kernel, stride, padding, bias=False), nn.LeakyReLU(SLOPE)]
        channels, size = filters, (size + 2 * padding - kernel) // stride + 1
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size**2, num_classes, bias=False))


CNN6 = NamedModel("cnn6", Modality.PICTURES, cnn6)
CNN6_D = NamedModel("cnn6-d", Modality.PICTURES, cnn6_d)
