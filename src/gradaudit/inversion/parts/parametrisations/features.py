"""Optimise the features behind one block of a trained generator, near their start (GIFD; Fang et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.validation import Positive
from ..part import Candidate
from ._generated_images import (
    ByGenerator,
    FromGenerator,
    OpenGenerator,
    follow,
    network_of,
    open_generator,
)


@dataclass(frozen=True)
class Features(ByGenerator):
    """The output of one block of a trained generator, within an l1 ball around its first value.

    GIFD (arXiv:2308.04699) searches the latent vectors first (`Latent`), and then the features behind one block after
    another, from their current value h. After each step, the features of every image are projected to the nearest ones
    with ||h' - h||_1 <= radius. The variable is `features` `[S, B, ...]`.

    Args:
        generator: The generator of the previous stage.
        block: Number of the block, from 0. The last block gives the pixels, and has no features to optimise. A later
            stage is skipped if the generator has no such block.
        radius: Radius of the ball of one image, a sum over all its features.
    """

    block: Annotated[int, Field(ge=0)] = 0
    radius: Positive = 1_000.0

    def idle(self, seen: Observation) -> str:
        """Return why the stage is skipped, if the generator has no such block; otherwise an empty string."""
        hidden = len(network_of(self.generator)[0].blocks) - 1
        return (
            "" if self.block < hidden else f"The stages after block {hidden - 1}, the generator's last, were skipped."
        )

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return the features of the previous stage, or those of random latent vectors without a stage.

        Raise `AttackFailed` if the generator has no such block, or the previous stage was behind it.
        """
        opened = open_generator(self, self.generator, seen)
        if self.block >= opened.last:
            raise AttackFailed(f"{self!r}: the generator has the blocks 0 to {opened.last - 1} before its pixels.")
        before = follow(self, previous)
        features = opened.features(opened.draw(seeds), self.block) if before is None else before.after(self.block)
        return _Behind(opened, features.detach().clone(), self)


class _Behind(FromGenerator):
    def __init__(self, opened: OpenGenerator, features: Tensor, of: Features) -> None:
        super().__init__(opened, {"features": features}, {"centre": features.clone()})
        self.block, self.radius = of.block, of.radius

    def after(self, block: int) -> Tensor:
        if block < self.block:
            raise AttackFailed(f"the features after block {block} precede those of the previous stage, {self.block}.")
        return self.generator.between(self.variables["features"], self.block + 1, block + 1)

    def project(self) -> None:
        features, centre = self.variables["features"], self.constants["centre"]
        moved = (features - centre).flatten(2)
        features.copy_(centre + onto_l1_ball(moved, self.radius).view_as(features))


def onto_l1_ball(vectors: Tensor, radius: float) -> Tensor:
    """Return the nearest vectors `[..., N]` whose l1 norm is at most `radius` (Duchi et al., 2008, figure 1).

    Outside the ball all entries shrink by one threshold θ, max(|v| - θ, 0), which follows from the sorted entries.
    """
    size = vectors.abs()
    ordered = size.sort(-1, descending=True).values
    places = torch.arange(1, size.shape[-1] + 1, device=size.device, dtype=size.dtype)
    thresholds = (ordered.cumsum(-1) - radius) / places
    count = (ordered > thresholds).sum(-1, keepdim=True)
    threshold = thresholds.gather(-1, count.clamp_min(1) - 1)  # no entry is larger if one is NaN
    inside = size.sum(-1, keepdim=True) <= radius
    return torch.where(inside, vectors, vectors.sign() * (size - threshold).clamp_min(0))
