"""Optimise a generator's own weights, one private copy for each image (the second phase of GIAS; Jeon et al., 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from ....protocol.observation import Observation
from ..part import Candidate
from ._generated_images import (
    ByGenerator,
    FromGenerator,
    OpenGenerator,
    follow,
    open_generator,
)


@dataclass(frozen=True)
class GeneratorWeights(ByGenerator):
    """The weights of a trained generator, one private copy for each image, at fixed latent vectors.

    GIAS (arXiv:2110.14962) searches the latent vectors first (`Latent`), and then these weights, from the trained ones,
    which reaches images that the generator does not make. BatchNorm uses its running statistics, which are not
    optimised. The variables are the parameters, `[S, B, ...]` each. They take B times the memory of the generator, and
    about five times that with Adam, the best iterate and the gradient.

    Args:
        generator: The generator of the previous stage.
    """

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return the trained weights at the latent vectors of the previous stage, or at random ones without a stage.

        Raise `AttackFailed` if the previous stage has no latent vectors.
        """
        opened = open_generator(self, self.generator, seen)
        before = follow(self, previous)
        z = opened.draw(seeds) if before is None else before.latents().detach().clone()
        return _PrivateCopies(opened, z)


class _PrivateCopies(FromGenerator):
    def __init__(self, opened: OpenGenerator, z: Tensor) -> None:
        many = z.shape[:2]
        weights = dict(opened.network.named_parameters())
        copies = {name: weight.detach().expand(*many, *weight.shape).clone() for name, weight in weights.items()}
        super().__init__(opened, copies, {"latent": z})

    def decode(self) -> Tensor:
        z, seen = self.constants["latent"], self.generator.seen
        images = [torch.stack([self._image(seed, place) for place in range(z.shape[1])]) for seed in range(len(z))]
        return seen.normalisation.apply(torch.stack(images))

    def _image(self, seed: int, place: int) -> Tensor:
        """Return one image `[C, H, W]` in [0, 1], from its own copy."""
        one = slice(place, place + 1)
        own = {name: copy[seed, place] for name, copy in self.variables.items()}
        labels = None if self.generator.labels is None else self.generator.labels[one]
        return functional_call(self.generator.network, own, (self.constants["latent"][seed, one], labels))[0]
