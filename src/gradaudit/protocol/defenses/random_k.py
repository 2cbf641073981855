"""Random sparsification: a random share of the entries is shared (Konečný et al., 2016, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...values.types import Tensors
from ._defense import Defense, Doubt, each, require
from ._supports import mean_where_shared, on_support, share_of_zeros


@dataclass(frozen=True)
class RandomK(Defense):
    """Random-k sparsification: keeps a random share of the entries of every tensor and sets the others to zero.

    The mask is drawn anew in every round from the client's seed. The kept entries are not divided by `keep`, as the
    unbiased variant of the paper does: the server can do this.

    An adversary that knows this defense compares the kept entries alone. Over several rounds it takes the mean of each
    entry over the rounds in which it was kept.

    Args:
        keep: Fraction of each tensor's entries that is kept, in (0, 1], at least one entry; 90 % pruning is 0.1.
    """

    example: ClassVar[tuple[Any, ...]] = (0.5,)
    paper: ClassVar[str] = "arXiv:1610.05492"
    doubt: ClassVar[Doubt] = Doubt(
        "the entries that were set to zero count as observed zeros, although the true gradient is not zero there. An "
        "adversary that knows the defense (DEFENSE) compares the kept entries alone and may recover more",
        "its equations need the entries that were set to zero",
    )
    keep: float

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, self, "keep must be in (0, 1]")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor with all but a random share of its entries set to zero."""
        return each(tensors, self._sparse)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate on the support of the observed update."""
        return on_support(candidate, observed)

    def joined(self, rounds: Sequence[Tensors]) -> Tensors:
        """Return the mean of every entry over the rounds in which it was kept."""
        return mean_where_shared(rounds)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose share is that of the entries of the first update that are not zero."""
        return cls(share_of_zeros(cls, rounds))

    def _sparse(self, tensor: Tensor) -> Tensor:
        count = max(1, round(self.keep * tensor.numel()))
        kept = torch.randperm(tensor.numel(), device=tensor.device)[:count]
        mask = torch.zeros(tensor.numel(), dtype=torch.bool, device=tensor.device).index_fill(0, kept, True)
        return torch.where(mask.view_as(tensor), tensor, torch.zeros_like(tensor))
