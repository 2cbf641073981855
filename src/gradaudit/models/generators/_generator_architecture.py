"""The base class of the architectures of generators: their sizes, as data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ...values.errors import AttackFailed
from ...values.validation import Count
from ..trained import NetworkArchitecture
from ._generator_network import GeneratorNetwork


@dataclass(frozen=True)
class GeneratorArchitecture(NetworkArchitecture[GeneratorNetwork]):
    """The architecture of a generator, with random weights.

    Args:
        channels: Channels of an image.
        size: Side of an image in pixels.
        classes: K of a class-conditional generator, which appends the class to its latent vector; else 0.
        latent: Width of the latent vector.
        width: Channels of the largest feature map.
    """

    channels: Count = 3
    size: Count = 32
    classes: int = 0
    latent: Count = 100
    width: Count = 64

    def blocks(self) -> list[nn.Module]:
        """Return the blocks of the network, with weights from torch's global generator."""
        raise NotImplementedError

    def critic(self) -> nn.Module:
        """Return the network that it is trained against: `[B, C + classes, size, size]` in [-1, 1] -> `[B]` scores."""
        raise NotImplementedError

    def build(self) -> GeneratorNetwork:
        """Return the network with random weights."""
        return GeneratorNetwork(self.blocks(), self.latent, self.classes, (self.channels, self.size, self.size))

    def halvings(self) -> tuple[int, int]:
        """Return the side of the first feature map, 4 to 7, and how often it is doubled.

        Raises:
            AttackFailed: The size is no such side times a power of two.
        """
        side, doublings = self.size, 0
        while side > 7 and side % 2 == 0:
            side, doublings = side // 2, doublings + 1
        if not 4 <= side <= 7 or not doublings:
            raise AttackFailed(
                f"{type(self).__name__}: size must be 4, 5, 6 or 7 times a power of two, such as 28, 32 or 64. "
                f"Found {self.size}."
            )
        return side, doublings
