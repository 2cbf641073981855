"""A plain convolutional network whose small parts can be removed or resized one by one."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from ..values.errors import AuditError

CHANNELS = (1, 2, 2, 4, 4, 4, 4, 4)
POOLS, POOL = 2, 3  # pools, before the last convolutions, and their side


@dataclass(frozen=True)
class MicroDesign:
    """The ConvNet of Geiping et al. (2020, arXiv:2003.14053) without BatchNorm, as Du et al. (2024, table IV) vary it.

    Eight convolutions of `width` times 1, 2, 2, 4, 4, 4, 4, 4 channels, a max-pool of 3 before each of the last two,
    dropout, and a linear layer. A smaller depth leaves out the last of these channels, which the paper does not do.

    Args:
        width: Channels of the first convolution.
        depth: Number of convolutions, 3 to 8.
        bias: Whether convolutions and the linear layer have a bias.
        relu: Whether a ReLU follows each convolution.
        dropout: Share of the features that dropout zeroes before the linear layer; 0 removes it.
        pool: Whether there are max-pools.
        kernel: Side of the convolution kernels.
        padding: Pixels of zeros around each feature map.
    """

    width: int = 64
    depth: int = 8
    bias: bool = True
    relu: bool = True
    dropout: float = 0.1
    pool: bool = True
    kernel: int = 3
    padding: int = 1

    def build(self, num_classes: int, channels: int, size: int) -> nn.Module:
        """Return the network with fresh weights, `[B, channels, size, size]` -> logits `[B, num_classes]`.

        Raises:
            AuditError: The depth is not 3 to 8, or the images are too small for its kernels and pools.
        """
        if not POOLS < self.depth <= len(CHANNELS):
            raise AuditError(f"{self}: depth must be 3 to {len(CHANNELS)}.")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        entering, side = channels, size
        for number, factor in enumerate(CHANNELS[: self.depth]):
            if self.pool and number >= self.depth - POOLS:
                layers[f"pool{number}"] = nn.MaxPool2d(POOL)
                side //= POOL
            leaving = self.width * factor
            layers[f"conv{number}"] = nn.Conv2d(entering, leaving, self.kernel, padding=self.padding, bias=self.bias)
            side += 2 * self.padding - self.kernel + 1
            if side < 1:
                raise AuditError(f"{self}: images of {size} pixels are too small for it. Use larger images.")
            if self.relu:
                layers[f"relu{number}"] = nn.ReLU()
            entering = leaving
        layers["flatten"] = nn.Flatten()
        if self.dropout:
            layers["dropout"] = nn.Dropout(self.dropout)
        layers["linear"] = nn.Linear(entering * side**2, num_classes, bias=self.bias)
        return nn.Sequential(layers)
