"""Densely connected networks for small images, with all or some of their connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..values.errors import AuditError

Connections = Literal["all", "odd", "powers"]
DEPTHS = {"densenet-43": (8, 10, 12, 8), "densenet-53": (10, 12, 16, 8)}
STEM, HIDDEN = 64, 512


@dataclass(frozen=True)
class DenselyConnected:
    """DenseNet-43 or -53 of Ju et al. (2022, arXiv:2208.01424), or one of its variants with fewer connections.

    A 7x7 convolution of 64 channels is followed by four dense blocks. Each starts with BatchNorm and has 3x3
    convolutions with ReLU; a 1x1 convolution with ReLU, BatchNorm and an average pool of 2 follows, and halves the
    channels. Two linear layers end the network. Convolutions have He's initialisation: with torch's own, and BatchNorm
    in evaluation mode, no trace of an image reaches the logits.

    Args:
        name: `densenet-43` or `densenet-53`.
        connections: What convolution k + 1 of a block sees beside convolution k: `all` of those before it; `odd` those
            at odd distances from k, and the first one (ShortNet1); `powers` for an even k those at the distances
            1, 3, 7 and 15, for an odd one only its neighbour (ShortNet2).
        growth: Channels of each convolution of a block, 32 in the paper.
    """

    name: str
    connections: Connections = "all"
    growth: int = 32

    def build(self, num_classes: int, channels: int, size: int) -> nn.Module:
        """Return the network with fresh weights, `[B, channels, size, size]` -> logits `[B, num_classes]`.

        Raises:
            AuditError: The images have fewer than 16 pixels on a side.
        """
        if size < 2 ** len(DEPTHS[self.name]):
            raise AuditError(f"{self.name}: images must be at least 16 pixels wide, got {size}.")
        layers: list[nn.Module] = [nn.Conv2d(channels, STEM, 7, padding=3, bias=False), nn.ReLU()]
        entering = STEM
        for depth in DEPTHS[self.name]:
            block = ConcatenatingBlock(entering, self.growth, depth, self.connections)
            entering = block.leaving // 2
            layers += [
                block,
                nn.Conv2d(block.leaving, entering, 1),
                nn.ReLU(),
                nn.BatchNorm2d(entering),
                nn.AvgPool2d(2),
            ]
            size //= 2
        layers += [nn.BatchNorm2d(entering), nn.Flatten(), nn.Linear(entering * size**2, HIDDEN)]
        model = nn.Sequential(*layers, nn.Linear(HIDDEN, num_classes))
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return model


class ConcatenatingBlock(nn.Module):
    """One dense block.

    Args:
        entering: Number of input channels.
        growth: Channels of each convolution.
        depth: Number of convolutions.
        connections: As for `DenselyConnected`.
    """

    def __init__(self, entering: int, growth: int, depth: int, connections: Connections) -> None:
        super().__init__()
        self.seen = [seen_after(k, connections) for k in range(1, depth + 1)]
        sizes = [entering, *(growth * len(numbers) for numbers in self.seen[:-1])]
        self.norm = nn.BatchNorm2d(entering)
        self.convolutions = nn.ModuleList(nn.Conv2d(count, growth, 3, padding=1) for count in sizes)
        self.leaving = growth * len(self.seen[-1])

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `[B, entering, H, W]` to `[B, leaving, H, W]`."""
        hidden, found = self.norm(inputs), []
        for convolution, numbers in zip(self.convolutions, self.seen, strict=True):
            found.append(F.relu(convolution(hidden)))
            hidden = torch.cat([found[number - 1] for number in numbers], 1)
        return hidden


def seen_after(k: int, connections: Connections) -> tuple[int, ...]:
    """Return the numbers of the convolutions, from 1, whose outputs are concatenated after convolution k.

    >>> seen_after(8, "all"), seen_after(8, "odd"), seen_after(8, "powers")
    ((1, 2, 3, 4, 5, 6, 7, 8), (1, 3, 5, 7, 8), (1, 5, 7, 8))
    """
    if connections == "all":
        return tuple(range(1, k + 1))
    if connections == "odd":
        distances = [0, *range(1, k, 2)]
        return tuple(sorted({1, *(k - distance for distance in distances)}))
    distances = [0, 1, 3, 7, 15] if k % 2 == 0 else [0, 1]
    return tuple(sorted(k - distance for distance in distances if distance < k))
