"""The convolutional network of the FedAvg paper, and the same with BatchNorm."""

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
    return _built(num_classes, channels, size, normed=False)


def fedavg_cnn_bn(num_classes: int, channels: int, size: int) -> nn.Module:
    """The CNN of McMahan et al. (2017) with BatchNorm behind each convolution, which the paper does not have.

    A small network with BatchNorm from which images come back in a few hundred steps: it serves to measure what
    BatchNorm in training mode hides.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels, at least 4.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.

    Raises:
        AuditError: The images are too small for the two pools.
    """
    return _built(num_classes, channels, size, normed=True)


def _built(num_classes: int, channels: int, size: int, *, normed: bool) -> nn.Sequential:
    if size < 4:
        raise AuditError(f"fedavg-cnn{'-bn' if normed else ''}: images must be at least 4 pixels wide, got {size}.")
    layers: list[nn.Module] = []
    for entering, leaving in ((channels, 32), (32, 64)):
        norms = [nn.BatchNorm2d(leaving)] if normed else []
        layers += [nn.Conv2d(entering, leaving, 5, padding=2), *norms, nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(64 * (size // 2 // 2) ** 2, 512), nn.ReLU(), nn.Linear(512, num_classes)]
    return nn.Sequential(*layers)


FEDAVG_CNN = NamedModel("fedavg-cnn", Modality.PICTURES, fedavg_cnn)
FEDAVG_CNN_BN = NamedModel("fedavg-cnn-bn", Modality.PICTURES, fedavg_cnn_bn)
