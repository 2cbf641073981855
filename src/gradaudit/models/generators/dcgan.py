"""DCGAN (Radford, Metz & Chintala, 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from ._generator_architecture import GeneratorArchitecture


@dataclass(frozen=True)
class DCGAN(GeneratorArchitecture):
    """DCGAN (Radford et al., arXiv:1511.06434), with the sizes of the code of GIAS (Jeon et al., 2021) by default.

    A transposed convolution maps the latent vector to a feature map of 4 x 4 (to 7 x 7, if the size asks for it), each
    further one (4 x 4, stride 2) doubles the side and halves the channels down to `width`; all are followed by
    BatchNorm and ReLU. The last one has a kernel of 1, or of 4 with stride 2 as in PyTorch's tutorial, and a tanh.

    Args:
        channels: Channels of an image.
        size: Side of an image in pixels: 4, 5, 6 or 7 times a power of two.
        classes: K of a class-conditional generator, else 0.
        latent: Width of the latent vector.
        width: Channels of the largest feature map.
        last: Kernel of the last layer, 1 or 4.
    """

    name: ClassVar[str] = "dcgan"
    last: Literal[1, 4] = 1

    def blocks(self) -> list[nn.Module]:
        """Return one block for each feature map, and the last one, which gives the pixels."""
        side, doublings = self.halvings()
        doublings -= self.last == 4
        width = self.width * 2**doublings
        first = nn.ConvTranspose2d(self.latent + self.classes, width, side, bias=False)
        blocks: list[nn.Module] = [nn.Sequential(_AsMap(), first, nn.BatchNorm2d(width), nn.ReLU())]
        for _ in range(doublings):
            layer = nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False)
            blocks.append(nn.Sequential(layer, nn.BatchNorm2d(width // 2), nn.ReLU()))
            width //= 2
        stride, padding = (2, 1) if self.last == 4 else (1, 0)
        pixels = nn.ConvTranspose2d(width, self.channels, self.last, stride=stride, padding=padding, bias=False)
        return [*blocks, nn.Sequential(pixels, nn.Tanh())]

    def critic(self) -> nn.Module:
        """Return the discriminator: strided convolutions, BatchNorm but in the first, LeakyReLU of slope 0.2."""
        side, doublings = self.halvings()
        layers: list[nn.Module] = []
        entering = self.channels + self.classes
        for number in range(doublings):
            leaving = self.width * 2**number
            layers.append(nn.Conv2d(entering, leaving, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(leaving)] if number else []
            layers.append(nn.LeakyReLU(0.2))
            entering = leaving
        return nn.Sequential(*layers, nn.Conv2d(entering, 1, side, bias=False), nn.Flatten(0))


class _AsMap(nn.Module):
    """`[B, D]` as a feature map `[B, D, 1, 1]`."""

    def forward(self, vector: Tensor) -> Tensor:
        return vector[..., None, None]
