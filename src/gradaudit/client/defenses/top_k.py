"""Sparsification: only the entries of largest magnitude leave (Zhu et al., 2019, section 5.2; Lin et al., 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...values.types import Tensors
from ._defense import Defense, each, require


@dataclass(frozen=True)
class TopK(Defense):
    """Keeps the largest entries of every tensor and sets the others to zero; 90 % pruning is `keep=0.1`.

    Knowing it, an adversary compares only where the observed update is not zero.

    Args:
        keep: Fraction of each tensor's entries that stays, in (0, 1]; at least one entry does.
    """

    example: ClassVar[tuple[Any, ...]] = (0.5,)
    paper: ClassVar[str] = "arXiv:1712.01887"
    keep: float

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, self, "keep must be in (0, 1]")

    def protect(self, tensors: Tensors) -> Tensors:
        """Each tensor with its small entries zeroed."""
        return each(tensors, self._sparse)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """The candidate on the support of the observed update."""
        return tuple(c * (o != 0) for c, o in zip(candidate, observed, strict=True))

    def _sparse(self, tensor: Tensor) -> Tensor:
        count = max(1, round(self.keep * tensor.numel()))
        kept = tensor.flatten().abs().topk(count).indices
        return torch.zeros_like(tensor).flatten().index_copy(0, kept, tensor.flatten()[kept]).view_as(tensor)
