"""The auto-encoder of GI-PIP (Sun et al., 2024)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ...values.errors import AttackFailed
from ._auto_encoder_architecture import AutoEncoderArchitecture

DEPTH = 3


@dataclass(frozen=True)
class ConvAutoEncoder(AutoEncoderArchitecture):
    """GI-PIP's auto-encoder of CIFAR-10 (Sun et al., ICASSP 2024): convolutions of 4 x 4 and stride 2, and back.

    The channels go from those of an image to 12, 24 and 48, each followed by a ReLU; transposed convolutions go the
    same way back and end in a sigmoid. An image whose side is no multiple of 8 is continued at its border by its own
    pixels, and the answer is cut.
    """

    def build(self) -> nn.Module:
        """Return the network. Raise `AttackFailed` if an image is smaller than 8 pixels."""
        if self.size < 2**DEPTH:
            raise AttackFailed(f"ConvAutoEncoder: size must be at least {2**DEPTH} pixels. Found {self.size}.")
        widths = [self.channels, *(self.width * 2**number for number in range(DEPTH))]
        layers: list[nn.Module] = []
        for entering, leaving in itertools.pairwise(widths):
            layers += [nn.Conv2d(entering, leaving, 4, stride=2, padding=1), nn.ReLU()]
        back = widths[::-1]
        for entering, leaving in itertools.pairwise(back):
            layers += [nn.ConvTranspose2d(entering, leaving, 4, stride=2, padding=1), nn.ReLU()]
        return _Padded(nn.Sequential(*layers[:-1], nn.Sigmoid()))


class _Padded(nn.Module):
    """A network of three halvings on images of any side."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        missing = (-width % 2**DEPTH, -height % 2**DEPTH)
        padded = F.pad(pictures, (0, missing[0], 0, missing[1]), mode="replicate") if any(missing) else pictures
        answer: Tensor = self.layers(padded)
        return answer[..., :height, :width]
