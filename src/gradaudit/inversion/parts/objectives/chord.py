"""Half the squared distance between the normalised updates: 1 - cosine, but accurate near the ground truth."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import BLOCK, Combination, products


@dataclass(frozen=True)
class Chord(Objective):
    """The cosine distance as half the squared distance of the normalised updates, accurate near the ground truth.

    It is ½ ||c / |c| - o / |o|||², which equals 1 - cos(c, o), in [0, 2], and is invariant to a positive rescaling of
    the update. 1 - cos is a difference of numbers near 1: float32 cannot resolve values below about 1e-7. This sum of
    small squares is accurate down to about 1e-13, which line searches and the choice of the best iterate need. A zero
    vector on either side yields ½.
    """

    independent: ClassVar[bool] = True

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        shrunk = [_length(torch.stack([t.pow(2).sum() for t in side]).sum()) for side in (candidate, observed)]
        gaps = [(c / shrunk[0] - o / shrunk[1]).pow(2).sum() for c, o in zip(candidate, observed, strict=True)]
        return torch.stack(gaps).sum() / 2

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient, (cos · c / |c| - o / |o|) / |c|; see `Matching.pull`."""
        inner, squares = (sums.sum() for sums in products(candidate, observed))
        ours, theirs = _length(squares), _length(products(observed, observed)[1].sum())
        value = _squared_gap(candidate, observed, 1 / ours, -1 / theirs) / 2
        factors = inner / (ours * theirs) / ours.square(), -1 / (ours * theirs)
        return Combination(value, *factors, value * (2 - value) / ours.square())


def _squared_gap(candidate: Tensors, observed: Tensors, on_candidate: Tensor, on_observed: Tensor) -> Tensor:
    """Return |candidate · on_candidate + observed · on_observed|², block by block."""
    gaps = []
    for c, o in zip(candidate, observed, strict=True):
        for left, right in zip(c.reshape(-1).split(BLOCK), o.reshape(-1).split(BLOCK), strict=True):
            gap = torch.addcmul(left * on_candidate, right, on_observed)
            gaps.append(torch.dot(gap, gap))
    return torch.stack(gaps).sum()


def _length(squares: Tensor) -> Tensor:
    """Return the square root, clamped to stay positive, with a finite slope at zero."""
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
