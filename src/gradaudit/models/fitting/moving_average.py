"""The exponential moving average of a network's weights, which is less noisy than the last weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage:
    """The moving average of the parameters of a network; buffers are copied.

    Args:
        network: The network in training.
        decay: Share of the average that one step keeps; less in the first steps, (1 + n) / (10 + n).
    """

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        self.network, self.decay, self.steps = copy.deepcopy(network).requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the present weights."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for own, new in zip(self.network.parameters(), network.parameters(), strict=True):
            own.lerp_(new, 1 - decay)
        for own, new in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(new)
        self.steps += 1
