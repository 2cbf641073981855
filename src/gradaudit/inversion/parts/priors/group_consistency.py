"""Several candidates of one image should agree (Yin et al., 2021, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Modality, Normalisation
from ..part import Prior, Progress
from ._registration import registered_mean


@dataclass(frozen=True)
class GroupConsistency(Prior):
    """The squared distance of each seed's candidate from the consensus of all seeds.

    It is the mean of (x_s - E)² over examples, channels and pixels, in normalised space: R_group of the paper, as a
    mean. E is the mean of all seeds, or their registered mean: every seed is first registered to the mean, by the shift
    and flow of `_registration`, where the paper uses RANSAC-Flow. E is a constant for the gradient, which is exact for
    the plain mean, as Σ_s (x_s - E) = 0. The penalty is zero with a single seed.

    Example i of one seed is compared with example i of the others. Labels distinguish the examples, so this is the same
    image as long as the labels differ. If a label repeats, seeds may have its images in different orders, and E is then
    a blend of them that pulls every seed towards it.

    Args:
        registered: Whether E is the registered mean.
        every: Steps from one registration to the next, at least 1; the plain mean is computed at every step.
    """

    modality: ClassVar[Modality] = Modality.PICTURES
    registered: bool = False
    every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 1:
            raise AttackFailed(f"GroupConsistency: every must be at least 1. Found {self.every}.")

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the penalty, which stores the last registered mean.

        It raises `AttackFailed` if the inputs are not images.
        """
        return _SeedGroup(self, seen.normalisation)

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        return _SeedGroup(self, Normalisation())(inputs, at)


class _SeedGroup:
    """The penalty of one run; `registration` contains the step of the last registration and its mean."""

    def __init__(self, prior: GroupConsistency, normalisation: Normalisation) -> None:
        self.prior, self.normalisation = prior, normalisation
        self.registration: tuple[int, Tensor] | None = None

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        if at.candidates is None or len(at.candidates) == 1:
            return 0 * inputs.sum()
        target = self._registered(at.candidates, at.step) if self.prior.registered else at.candidates.mean(0)
        return (inputs - target).pow(2).mean()

    def _registered(self, candidates: Tensor, step: int) -> Tensor:
        if candidates.ndim != 5:
            raise AttackFailed(f"{self.prior!r} registers images [B, C, H, W]. Found {list(candidates.shape[2:])}.")
        if self.registration is None or step - self.registration[0] >= self.prior.every:
            pixels = self.normalisation.invert(torch.nan_to_num(candidates)).clamp(0, 1)
            self.registration = step, self.normalisation.apply(registered_mean(pixels))
        return self.registration[1]
