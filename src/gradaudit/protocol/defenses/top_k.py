"""Sparsification: only the largest entries are shared (Zhu et al., 2019, section 5.2; Lin et al., 2018)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...values.types import Tensors
from ._defense import Defense, Doubt, each, require


@dataclass(frozen=True)
class TopK(Defense):
    """Top-k sparsification: keeps the entries of largest magnitude of every tensor and sets the others to zero.

    An adversary that knows this defense compares only the entries where the observed update is not zero.

    Args:
        keep: Fraction of each tensor's entries that is kept, in (0, 1], at least one entry; 90 % pruning is 0.1.
    """

    example: ClassVar[tuple[Any, ...]] = (0.5,)
    paper: ClassVar[str] = "arXiv:1712.01887"
    doubt: ClassVar[Doubt] = Doubt(
        "the entries that were set to zero count as observed zeros, although the true gradient is not zero there. An "
        "adversary that knows the defense (DEFENSE) compares the kept entries alone and may recover more",
        "its equations need the entries that were set to zero",
    )
    keep: float

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, self, "keep must be in (0, 1]")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor with its small entries set to zero."""
        return each(tensors, self._sparse)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate on the support of the observed update."""
        return tuple(c * (o != 0) for c, o in zip(candidate, observed, strict=True))

    def _sparse(self, tensor: Tensor) -> Tensor:
        count = max(1, round(self.keep * tensor.numel()))
        kept = tensor.flatten().abs().topk(count).indices
        return torch.zeros_like(tensor).flatten().index_copy(0, kept, tensor.flatten()[kept]).view_as(tensor)
