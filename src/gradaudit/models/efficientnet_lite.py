"""EfficientNet-Lite0: a mobile ImageNet network with 49 BatchNorm layers."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from ..values.types import Modality
from ._named import NamedModel

# Kernel, blocks, stride of the first one, expansion, channels (Tan & Le, 2019, table 1).
STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
STEM, HEAD = 32, 1280


def efficientnet_lite0(num_classes: int, channels: int, size: int) -> nn.Module:
    """EfficientNet-Lite0 (Tan & Le, 2019; Liu, 2020): ReLU6, no squeeze-and-excitation, 4.7 million parameters.

    The names of the tensors are those of the package efficientnet_lite_pytorch, whose ImageNet weights expect pixels
    in [0, 1] normalised by the mean 127/255 and the standard deviation 128/255. It has no dropout before the classifier
    and no stochastic depth, so that training and evaluation differ in BatchNorm alone.

    Args:
        num_classes: K.
        channels: Channels of the images.
        size: Side of the images in pixels; any size fits, because the last feature map is averaged.

    Returns:
        `[B, channels, size, size]` -> logits `[B, K]`.
    """
    return EfficientNetLite(num_classes, channels)


class SamePadded(nn.Conv2d):
    """A convolution whose output has the sides of the input over the stride, rounded up.

    If the padding is odd, the larger share is at the right and at the bottom, as in TensorFlow.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to `[B, C', H / stride, W / stride]`, rounded up."""
        padding: list[int] = []
        for side, kernel, stride in zip(inputs.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(inputs, padding))


class InvertedResidual(nn.Module):
    """An inverted residual block (Sandler et al., 2018): 1x1 expansion, depthwise convolution, 1x1 projection.

    Args:
        entering: Number of input channels.
        leaving: Number of output channels; the shortcut exists if there are as many and the stride is 1.
        kernel: Side of the depthwise kernel.
        stride: Stride of the depthwise convolution.
        expansion: Factor of the channels inside; at 1 there is no 1x1 expansion.
    """

    def __init__(self, entering: int, leaving: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = entering * expansion
        self.expands, self.shortcut = expansion > 1, stride == 1 and entering == leaving
        if self.expands:
            self._expand_conv = nn.Conv2d(entering, inside, 1, bias=False)
            self._bn0 = _norm(inside)
        self._depthwise_conv = SamePadded(inside, inside, kernel, stride, groups=inside, bias=False)
        self._bn1 = _norm(inside)
        self._project_conv = nn.Conv2d(inside, leaving, 1, bias=False)
        self._bn2 = _norm(leaving)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[B, entering, H, W]` to `[B, leaving, H / stride, W / stride]`, rounded up."""
        hidden = F.relu6(self._bn0(self._expand_conv(inputs))) if self.expands else inputs
        hidden = F.relu6(self._bn1(self._depthwise_conv(hidden)))
        hidden = self._bn2(self._project_conv(hidden))
        return hidden + inputs if self.shortcut else hidden


class EfficientNetLite(nn.Module):
    """The network: a stem of stride 2, sixteen inverted residual blocks, a 1x1 convolution and a linear classifier.

    Args:
        num_classes: K.
        channels: Channels of the images.
    """

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        self._conv_stem = SamePadded(channels, STEM, 3, 2, bias=False)
        self._bn0 = _norm(STEM)
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        entering = STEM
        for kernel, repeats, stride, expansion, leaving in STAGES:
            for number in range(repeats):
                first = stride if number == 0 else 1
                blocks[str(len(blocks))] = InvertedResidual(entering, leaving, kernel, first, expansion)
                entering = leaving
        self._blocks = nn.Sequential(blocks)
        self._conv_head = nn.Conv2d(entering, HEAD, 1, bias=False)
        self._bn1 = _norm(HEAD)
        self._fc = nn.Linear(HEAD, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[B, C, H, W]` to logits `[B, K]`."""
        hidden = self._blocks(F.relu6(self._bn0(self._conv_stem(inputs))))
        hidden = F.relu6(self._bn1(self._conv_head(hidden)))
        return self._fc(hidden.mean(dim=(2, 3)))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


MODEL = NamedModel("efficientnet-lite0", Modality.PICTURES, efficientnet_lite0)
