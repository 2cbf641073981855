"""The generator of WGAN-GP (Gulrajani et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ...values.validation import Count
from ._generator_architecture import GeneratorArchitecture


@dataclass(frozen=True)
class WganGp(GeneratorArchitecture):
    """The generator of WGAN-GP (Gulrajani et al., arXiv:1704.00028), with the sizes that GGL uses for faces at 32 px.

    A linear layer, BatchNorm and ReLU map the latent vector to a feature map of 4 x 4 (to 7 x 7, if the size asks for
    it). Transposed convolutions with kernel 2 and stride 2 double the side and halve the channels, each with BatchNorm
    and ReLU; the last one gives the pixels through a tanh. The critic has convolutions 3 x 3 of stride 2 without
    normalisation, because its gradient is penalised for each image.

    Args:
        channels: Channels of an image.
        size: Side of an image in pixels: 4, 5, 6 or 7 times a power of two.
        classes: K of a class-conditional generator, else 0.
        latent: Width of the latent vector.
        width: Channels of the largest feature map.
    """

    name: ClassVar[str] = "wgan-gp"
    latent: Count = 128
    width: Count = 128

    def blocks(self) -> list[nn.Module]:
        """Return one block for each feature map, and the last one, which gives the pixels."""
        side, doublings = self.halvings()
        width = self.width * 2 ** (doublings - 1)
        blocks: list[nn.Module] = [
            nn.Sequential(
                nn.Linear(self.latent + self.classes, width * side * side),
                nn.Unflatten(1, (width, side, side)),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            )
        ]
        for _ in range(doublings - 1):
            layer = nn.ConvTranspose2d(width, width // 2, 2, stride=2)
            blocks.append(nn.Sequential(layer, nn.BatchNorm2d(width // 2), nn.ReLU()))
            width //= 2
        return [*blocks, nn.Sequential(nn.ConvTranspose2d(width, self.channels, 2, stride=2), nn.Tanh())]

    def critic(self) -> nn.Module:
        """Return the critic: `[B, C + classes, size, size]` -> `[B]`."""
        side, doublings = self.halvings()
        layers: list[nn.Module] = []
        entering = self.channels + self.classes
        for number in range(doublings):
            leaving = self.width * 2**number
            layers += [nn.Conv2d(entering, leaving, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
            entering = leaving
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(entering * side * side, 1), nn.Flatten(0))
