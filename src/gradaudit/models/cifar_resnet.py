"""The residual networks for CIFAR-10."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..values.types import Modality
from ._named import NamedModel


def resnet20(num_classes: int, channels: int, size: int) -> nn.Module:
    """ResNet-20 for small images (He et al., 2016, section 4.2, n = 3, option-A shortcuts).

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels; any size fits, because the last feature map is averaged.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    return CifarResNet(num_classes, channels, blocks=3)


def resnet32(num_classes: int, channels: int, size: int) -> nn.Module:
    """ResNet-32 for small images (He et al., 2016, section 4.2, n = 5); arguments as for `resnet20`."""
    return CifarResNet(num_classes, channels, blocks=5)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions and a parameter-free shortcut (He et al., 2016, section 3.3, option A).

    Args:
        entering: Number of input channels.
        leaving: Number of output channels, `entering` or twice as many.
        stride: 1, or 2 to halve the sides of the feature map.
    """

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        self.stride = stride
        self.added = (leaving - entering) // 2

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[B, entering, H, W]` to `[B, leaving, H / stride, W / stride]`, rounded up."""
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        shortcut = inputs[:, :, :: self.stride, :: self.stride]
        shortcut = F.pad(shortcut, (0, 0, 0, 0, self.added, self.added))
        return F.relu(self.bn2(self.conv2(hidden)) + shortcut)


class CifarResNet(nn.Module):
    """The residual network of 6 n + 2 layers for CIFAR-10, with He's initialisation.

    Args:
        num_classes: K.
        channels: Channels of the images.
        blocks: n, the number of blocks in each of the three stages.
    """

    def __init__(self, num_classes: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to logits `[B, K]`."""
        hidden = F.relu(self.bn1(self.conv1(inputs)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        return self.linear(hidden.mean(dim=(2, 3)))


def _stage(entering: int, leaving: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (Block(leaving, leaving, 1) for _ in range(blocks - 1))
    return nn.Sequential(Block(entering, leaving, stride), *rest)


RESNET20 = NamedModel("resnet20", Modality.PICTURES, resnet20)
RESNET32 = NamedModel("resnet32", Modality.PICTURES, resnet32)
