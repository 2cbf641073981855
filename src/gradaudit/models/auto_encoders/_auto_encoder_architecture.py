"""The base class of the architectures of auto-encoders."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ...values.validation import Count
from ..trained import NetworkArchitecture


@dataclass(frozen=True)
class AutoEncoderArchitecture(NetworkArchitecture[nn.Module]):
    """The architecture of an auto-encoder: `[B, C, size, size]` in [0, 1] -> the same shape, in [0, 1].

    Args:
        channels: Channels of an image.
        size: Side of an image in pixels.
        width: Channels of the first feature map.
    """

    channels: Count = 3
    size: Count = 32
    width: Count = 12
