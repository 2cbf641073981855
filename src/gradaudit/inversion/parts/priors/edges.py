"""Edges: the E of AFGI's regulariser VME (Liu et al., 2024), with a differentiable edge map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.image_statistics import SIGMA, canny, grey
from ....values.types import Knowledge, Modality
from ..part import Prior, Progress

TINY = 1e-8  # under the root of the magnitude, whose gradient would be infinite on a flat image


@dataclass(frozen=True)
class Edges(Prior):
    """The squared distance of the candidates' edges from reference edges.

    It is mean (E(x) - E_ref)², over batch and pixels, with E a soft edge map and E_ref hard edges by Canny. The paper
    publishes that the discrepancy between edges is penalised, and in its first version that they are Canny's
    (arXiv:2403.08383). Canny's own map has no gradient, so E and the source of E_ref are our choice: E is brightness,
    Gaussian 5 x 5, Sobel magnitude, and a sigmoid instead of a threshold (`edge_map`). E_ref is 1 on the hard edges and
    0 elsewhere, without a gradient:

    - `"consensus"`: the edges of the mean over the current candidates of all seeds, refreshed regularly (`every`). With
      one seed that is the candidate itself, and the penalty sharpens its edges. Examples are compared by their position
      in the batch, which may differ between seeds if labels repeat.
    - `"oracle"`: the edges of the private images, granted by IMAGE_STATISTICS. Oracle: this adversary knows the ground
      truth's edges. If the order of the batch is not granted with the labels, the edges are assigned to the candidates
      by the least total penalty at every refresh.

    Args:
        source: Which of the two.
        every: Fraction of the stage from one E_ref to the next; 0.01 is every 100 of 10 000 steps.
        threshold: t, of the Sobel magnitude, which is 8 times the slope per pixel in units of [0, 1]. It is above
            Canny's 0.1 and 0.2, because Canny's edges are thinned to one pixel. Of 0.15, 0.3, 0.5, 0.8 and 1.2, 0.5
            separates a photograph's own hard edges best from another's (mean distance 0.10 against 0.15).
        softness: τ, the width of the sigmoid in the same unit.
    """

    modality: ClassVar[Modality] = Modality.PICTURES
    source: Literal["consensus", "oracle"] = "consensus"
    every: float = 0.01
    threshold: float = 0.5
    softness: float = 0.2

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """IMAGE_STATISTICS for the oracle, otherwise nothing."""
        return Knowledge.IMAGE_STATISTICS if self.source == "oracle" else Knowledge.NOTHING

    def bind(self, seen: Observation) -> Callable[[Tensor, Progress], Tensor]:
        """Return the penalty on `[B, C, H, W]`, with its E_ref. Raise `AttackFailed` if the data is not images."""
        if len(seen.input_shape) != 3:
            raise AttackFailed(f"{self!r} is for images.")
        if self.source == "oracle" and seen.image_statistics is None:
            raise AttackFailed(f"{self!r} needs the true edges (IMAGE_STATISTICS).")
        return _EdgeDistance(self, seen)

    def edges(self, pictures: Tensor) -> Tensor:
        """Return E `[B, H, W]` in (0, 1), for images in units of [0, 1]."""
        return edge_map(pictures, self.threshold, self.softness)


class _EdgeDistance:
    """The penalty during one stage.

    Args:
        prior: The settings.
        seen: The observation with the normalisation, and the true edges if they are granted.
    """

    def __init__(self, prior: Edges, seen: Observation) -> None:
        self.prior, self.seen = prior, seen
        self.reference: Tensor | None = None
        self.since = 0

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        if self.reference is None or at.step >= self.since + self.prior.every * at.steps:
            guesses = inputs.detach() if at.candidates is None else at.candidates.mean(0)
            self.reference, self.since = self._refreshed(self.seen.normalisation.invert(guesses)).to(inputs), at.step
        return (self.prior.edges(self.seen.normalisation.invert(inputs)) - self.reference).square().mean()

    @torch.no_grad()
    def _refreshed(self, pictures: Tensor) -> Tensor:
        """Return E_ref `[B, H, W]`."""
        if self.prior.source == "consensus":
            return canny(pictures)
        assert self.seen.image_statistics is not None
        truth = self.seen.image_statistics.edges
        if self.seen.labels is not None:
            return truth
        distances = torch.cdist(self.prior.edges(pictures).flatten(1), truth.to(pictures).flatten(1)).square()
        return truth[torch.as_tensor(linear_sum_assignment(distances.cpu())[1], device=truth.device)]


def edge_map(pictures: Tensor, threshold: float, softness: float) -> Tensor:
    """Return sigmoid((|Sobel| - threshold) / softness) `[B, H, W]` of the smoothed brightness.

    Args:
        pictures: `[B, C, H, W]` in units of [0, 1].
        threshold: Magnitude at which the map is 1/2.
        softness: Width of the transition.
    """
    return torch.sigmoid((sobel_magnitude(smoothed(grey(pictures))) - threshold) / softness)


def smoothed(shades: Tensor) -> Tensor:
    """Return `[B, H, W]` filtered by a Gaussian of 5 x 5 pixels and standard deviation 1.4, with edges repeated."""
    line = torch.exp(-torch.arange(-2, 3, dtype=shades.dtype, device=shades.device).square() / (2 * SIGMA**2))
    return _filtered(shades, torch.outer(line, line).unsqueeze(0) / line.sum() ** 2).squeeze(1)


def sobel_magnitude(shades: Tensor) -> Tensor:
    """Return √(g_x² + g_y²) `[B, H, W]` with Sobel's unscaled 3 x 3 kernels, with edges repeated."""
    across = shades.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    slopes = _filtered(shades, torch.stack((across, across.T)))
    return (slopes.square().sum(1) + TINY).sqrt()


def _filtered(shades: Tensor, kernels: Tensor) -> Tensor:
    """Return the correlation of `[B, H, W]` with kernels `[K, k, k]`, `[B, K, H, W]`."""
    margin = kernels.shape[-1] // 2
    padded = functional.pad(shades.unsqueeze(1), (margin,) * 4, mode="replicate")
    return functional.conv2d(padded, kernels.unsqueeze(1))
