"""The model of a malicious server for these federations: an imprint of one measurement, with the quantiles as bins."""

import torch
from torch import nn

BINS = 48


def build():
    """Return the client's own architecture: wide enough for the detectors to judge."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, BINS), nn.ReLU(), nn.Linear(BINS, 4))


def modified():
    """Return the same architecture with an imprint layer."""
    net = build()
    quantiles = torch.special.ndtri((torch.arange(BINS) + 0.5) / BINS)
    with torch.no_grad():
        net[1].weight.copy_(torch.full((64,), 1 / 64).expand(BINS, -1))
        net[1].bias.copy_(-(0.5 + 0.03 * quantiles))
    return net


def batch(_):
    """Return eight examples of a client."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(8, 1, 8, 8, generator=generator), torch.arange(8) % 4
