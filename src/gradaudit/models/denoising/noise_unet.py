"""A small U-Net that removes Gaussian noise of a given level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...values.errors import AttackFailed
from ._denoising_architecture import DenoisingArchitecture

DEEPEST = 4  # the side is halved twice


@dataclass(frozen=True)
class NoiseUNet(DenoisingArchitecture):
    """A small U-Net in the manner of DRUNet (Zhang et al., 2021): the noise level is one more channel of its input.

    Two convolutions (3 x 3, ReLU) at each of three resolutions on the way down, with `width`, twice and four times as
    many channels, and two on the way up, where the features of the way down are added. The network predicts the noise,
    in units of its level, and subtracts it. It has no BatchNorm.
    """

    name: ClassVar[str] = "noise-unet"

    def build(self) -> nn.Module:
        """Return the network. Raise `AttackFailed` if an image is smaller than 8 pixels."""
        if self.size < 2 * DEEPEST:
            raise AttackFailed(f"NoiseUNet: size must be at least {2 * DEEPEST} pixels. Found {self.size}.")
        return _NoiseUNetwork(self.channels, self.width)


class _NoiseUNetwork(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels + 1, width, 3, padding=1)
        widths = (width, 2 * width, 4 * width)
        self.descent = nn.ModuleList(_pair(one) for one in widths)
        self.sink = nn.ModuleList(nn.Conv2d(one, 2 * one, 2, stride=2) for one in widths[:2])
        self.rise = nn.ModuleList(nn.ConvTranspose2d(2 * one, one, 2, stride=2) for one in widths[:2])
        self.ascent = nn.ModuleList(_pair(one) for one in widths[:2])
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Return denoised images, not clamped.

        Args:
            pictures: `[B, C, H, W]`.
            noise: `[B]`, standard deviations of the noise.
        """
        height, width = pictures.shape[-2:]
        padding = (0, -width % DEEPEST, 0, -height % DEEPEST)
        padded = F.pad(pictures, padding, mode="replicate") if any(padding) else pictures
        level = noise.to(padded)[:, None, None, None]
        features = self.first(torch.cat([padded, level.expand(-1, 1, *padded.shape[2:])], dim=1))
        kept = []
        for block, sink in zip(self.descent[:2], self.sink, strict=True):
            features = features + block(features)
            kept.append(features)
            features = sink(features)
        features = features + self.descent[2](features)
        for position in (1, 0):
            features = self.rise[position](features) + kept[position]
            features = features + self.ascent[position](features)
        answer: Tensor = padded - level * self.last(features)
        return answer[..., :height, :width]


def _pair(width: int) -> nn.Module:
    layers = (nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
    return nn.Sequential(*layers)
