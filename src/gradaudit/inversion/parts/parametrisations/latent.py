"""Optimise the latent vectors of a trained generator (GIAS; Jeon et al., 2021; GGL; Li et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.validation import NonNegative
from ..part import Candidate
from ._generated_images import (
    ByGenerator,
    FromGenerator,
    OpenGenerator,
    open_generator,
)


@dataclass(frozen=True)
class Latent(ByGenerator):
    """The latent vectors of a trained generator: one variable, `latent` `[S, B, D]`, drawn from N(0, 1).

    A class-conditional generator makes image i of class i of the labels, which must be granted or inferred.

    Args:
        generator: The generator, or `Untrained` for the same search without training.
        bounded: Whether the generator takes tanh of the variable, as GGL searches with CMA-ES.
        kld: Weight of -(1 + log σ² - μ² - σ²) / 2 in the loss, where μ and σ are the mean and the standard deviation
            of the coordinates of one latent vector (GGL, 0.1 without `bounded`); the mean over the images.
    """

    bounded: bool = False
    kld: NonNegative = 0.0

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return random latent vectors, or those of the previous stage if that was of this kind, too."""
        opened = open_generator(self, self.generator, seen)
        same = isinstance(previous, _LatentVectors) and previous.bounded == self.bounded
        latent = previous.variables["latent"].detach().clone() if same else opened.draw(seeds)  # type: ignore[union-attr]
        return _LatentVectors(opened, latent, self.bounded, self.kld)


class _LatentVectors(FromGenerator):
    def __init__(self, opened: OpenGenerator, latent: Tensor, bounded: bool, kld: float) -> None:
        super().__init__(opened, {"latent": latent}, {})
        self.bounded, self.kld = bounded, kld

    def latents(self) -> Tensor:
        variable = self.variables["latent"]
        return variable.tanh() if self.bounded else variable

    def after(self, block: int) -> Tensor:
        return self.generator.features(self.latents(), block)

    def penalty(self) -> Tensor | None:
        return self.kld * divergence(self.latents()).mean(1) if self.kld else None


def divergence(z: Tensor) -> Tensor:
    """Return the KL divergence `[...]` from N(0, 1) of the normal distribution of the coordinates of each z `[..., D]`.

    It is 0 for coordinates of mean 0 and variance 1. The variance is the biased one.
    """
    mean, variance = z.mean(-1), z.var(-1, correction=0)
    tiny = torch.finfo(z.dtype).tiny
    return -(1 + variance.clamp_min(tiny).log() - mean.square() - variance) / 2
