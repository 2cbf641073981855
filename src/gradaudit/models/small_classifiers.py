"""torchvision's classifiers as they are trained on images of 32 pixels, with weights that let a signal through."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ._torchvision_models import torchvision_model

LEAST = {"inception_v3": 75}
"""Name -> least side of the images in pixels."""


@dataclass(frozen=True)
class SmallClassifier:
    """A classifier of torchvision for small images.

    The three linear layers of a VGG are replaced by one, which is usual for images of 32 pixels and leaves 9 of its 133
    million parameters. Convolutions have He's initialisation: GoogLeNet and Inception-v3 without it, and with
    BatchNorm in evaluation mode, shrink an image by many orders of magnitude.

    Args:
        name: A name of torchvision.
    """

    name: str

    @property
    def size(self) -> int | None:
        """The side in pixels to which images must be enlarged, or `None` if any size fits."""
        return LEAST.get(self.name)

    def build(self, num_classes: int, channels: int, size: int) -> nn.Module:
        """Return the network with fresh weights, `[B, channels, size, size]` -> logits `[B, num_classes]`."""
        if self.name.startswith("vgg"):
            model = _without_linear_layers(self.name, num_classes, channels, size)
        else:
            model = torchvision_model(self.name, num_classes, channels, size)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return model


def _without_linear_layers(name: str, num_classes: int, channels: int, size: int) -> nn.Module:
    """Return a VGG with one linear layer, without ever holding the values of the three that it replaces."""
    with torch.device("meta"):
        model = torchvision_model(name, num_classes, channels, size)
    model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, num_classes)
    for module in model.features.to_empty(device="cpu").modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.reset_parameters()
    return model
