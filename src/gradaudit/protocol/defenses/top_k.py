"""Sparsification: only the largest entries are shared (Zhu et al., 2019, section 5.2; Lin et al., 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require
from ._supports import explained_sparsely, mean_where_shared, on_support, share_of_zeros, sparse_likelihood


@dataclass(frozen=True)
class TopK(Defense):
    """Top-k sparsification: keeps the entries of largest magnitude of every tensor and sets the others to zero.

    An adversary that knows this defense compares only the entries where the observed update is not zero, and bounds the
    others by the smallest magnitude that was kept.

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
        return on_support(candidate, observed)

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance on the support, and off it that by which the candidate is too large.

        An entry that was not kept has at most the smallest magnitude that its tensor kept.
        """
        return sparse_likelihood(observed, candidate)

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance on the support, plus the relative square of what is too large off it."""
        return explained_sparsely(candidate, observed, distance)

    def joined(self, rounds: Sequence[Tensors]) -> Tensors:
        """Return the mean of every entry over the rounds in which it was kept."""
        return mean_where_shared(rounds)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose share is that of the entries of the first update that are not zero."""
        return cls(share_of_zeros(cls, rounds))

    def _sparse(self, tensor: Tensor) -> Tensor:
        count = max(1, round(self.keep * tensor.numel()))
        kept = tensor.flatten().abs().topk(count).indices
        return torch.zeros_like(tensor).flatten().index_copy(0, kept, tensor.flatten()[kept]).view_as(tensor)
