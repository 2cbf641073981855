"""Cosine distance between updates, whole or layer by layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...types import Tensors
from ..attack import Objective, Progress


@dataclass(frozen=True)
class Cosine(Objective):
    """1 - cosine of the two updates as single vectors, in [0, 2] (Geiping et al., 2020, equation 4).

    Blind to a positive rescaling of the update, hence to an unknown learning rate and to clipping. A zero vector on
    either side gives 1.
    """

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        pairs = list(zip(candidate, observed, strict=True))
        dot = torch.stack([(c * o).sum() for c, o in pairs]).sum()
        lengths = [_length(torch.stack([t.pow(2).sum() for t in side]).sum()) for side in zip(*pairs, strict=True)]
        return 1 - dot / (lengths[0] * lengths[1])


@dataclass(frozen=True)
class LayerwiseCosine(Objective):
    """Mean over the tensors of 1 - cosine of each, in [0, 2]; every layer counts the same whatever its norm."""

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        distances = [
            1 - (c * o).sum() / (_length(c.pow(2).sum()) * _length(o.pow(2).sum()))
            for c, o in zip(candidate, observed, strict=True)
        ]
        return torch.stack(distances).mean()


def _length(squares: Tensor) -> Tensor:
    """Square root that stays positive, with a finite slope at zero."""
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
