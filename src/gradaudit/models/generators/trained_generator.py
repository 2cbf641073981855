"""A trained generator, named by value."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ...values.errors import AttackFailed
from ..assets import Asset
from ..trained import TrainedNetwork
from . import GENERATORS
from ._generator_network import GeneratorNetwork
from .dcgan import DCGAN


@dataclass(frozen=True)
class Generator(TrainedNetwork[GeneratorNetwork]):
    """A trained generator by its name or file, so that an attack that uses it can be printed and made again.

    A file that `gradaudit train generator` wrote says what it contains. Another file of weights is read as a DCGAN,
    whose sizes follow from the shapes of its tensors.

    Args:
        source: Name of an asset of this package or of the folder that GRADAUDIT_ASSETS names, or the path of a file.
    """

    kind: ClassVar[str] = "generator"
    architectures: ClassVar[Mapping[str, Any]] = GENERATORS

    def open(self) -> tuple[GeneratorNetwork, Asset]:
        """Return the network in evaluation mode without gradients, on the CPU, and the file it came from.

        Raises:
            AttackFailed: There is no such file, it does not contain a generator, or all latent vectors give one image,
                so that there is nothing to search.
        """
        network, asset = super().open()
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(2, network.latent, generator=generator)
        with torch.no_grad():
            one, other = network(z, torch.zeros(2, dtype=torch.int64))
        if torch.allclose(one, other, rtol=0, atol=1e-6):
            raise AttackFailed(f"{asset.source}: the generator makes one image of all latent vectors. Train it again.")
        return network, asset

    def inferred(self, asset: Asset) -> DCGAN:
        """Return the DCGAN whose transposed convolutions have the shapes of the file."""
        kernels = [tuple(value.shape) for value in asset.state.values() if value.ndim == 4]
        fits = len(kernels) > 2 and all(here[1] == there[0] for here, there in itertools.pairwise(kernels))
        if not fits or any(shape[2:] != (4, 4) for shape in kernels[1:-1]) or kernels[-1][2] not in (1, 4):
            raise AttackFailed(
                f"{asset.source} does not say which generator it is, and its tensors are not those of a DCGAN. Make "
                "one with `gradaudit train generator`."
            )
        latent, width, last = kernels[0][0], kernels[-1][0], kernels[-1][2]
        size = kernels[0][2] * 2 ** (len(kernels) - 2 + (last == 4))
        return DCGAN(channels=kernels[-1][1], size=size, latent=latent, width=width, last=1 if last == 1 else 4)
