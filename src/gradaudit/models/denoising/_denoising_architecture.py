"""The base class of the architectures of denoising networks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ...values.validation import Count
from ..trained import NetworkArchitecture


@dataclass(frozen=True)
class DenoisingArchitecture(NetworkArchitecture[nn.Module]):
    """The architecture of a denoiser: noisy images `[B, C, H, W]` and noise levels `[B]` -> images `[B, C, H, W]`.

    Args:
        channels: Channels of an image.
        size: Side in pixels of the images that it is trained on.
        width: Channels of the first feature map.
    """

    channels: Count = 3
    size: Count = 32
    width: Count = 32
