"""A generator with random weights, by value: what a generator attack gains without any training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from ...values.chance import seeded
from ...values.validation import Checked
from ..assets import Asset
from ._generator_architecture import GeneratorArchitecture
from ._generator_network import GeneratorNetwork

DRAWN = 256  # latent vectors from which the statistics of BatchNorm are taken


@dataclass(frozen=True)
class Untrained(Checked):
    """An architecture with random weights, in the place of a trained generator.

    The ablation of an attack with a generator: whatever it recovers with this one is not owed to training. The running
    statistics of BatchNorm are those of 256 random latent vectors, so that images differ from one another.

    Args:
        architecture: The architecture with its sizes.
        seed: Seed of the weights.
    """

    architecture: GeneratorArchitecture
    seed: int = 0

    @torch.no_grad()
    def open(self) -> tuple[GeneratorNetwork, Asset]:
        """Return the network in evaluation mode without gradients, on the CPU, and an asset without a file."""
        of = self.architecture
        with seeded(self.seed, torch.device("cpu")):
            network = of.build().train()
            layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
            for layer in layers:
                layer.momentum = None  # the statistics of this one pass
            labels = torch.arange(DRAWN) % of.classes if of.classes else None
            network(torch.randn(DRAWN, of.latent), labels)
        asset = Asset(repr(self), "generator", type(of).name, of.settings, {}, {})
        return network.eval().requires_grad_(False), asset
