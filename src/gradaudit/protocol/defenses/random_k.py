"""Random sparsification: a random share of the entries is shared (Konečný et al., 2016, section 3)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._supports import Sparsification


@dataclass(frozen=True)
class RandomK(Sparsification):
    """Random-k sparsification: keeps a random share of the entries of every tensor and sets the others to zero.

    The mask is drawn anew in every round from the client's seed. The kept entries are not divided by `keep`, as the
    unbiased variant of the paper does: the server can do this.

    An adversary that knows this defense compares the kept entries alone. Over several rounds it takes the mean of each
    entry over the rounds in which it was kept.

    Args:
        keep: Fraction of each tensor's entries that is kept, in (0, 1], at least one entry; 90 % pruning is 0.1.
    """

    paper: ClassVar[str] = "arXiv:1610.05492"

    def sparse(self, tensor: Tensor, count: int) -> Tensor:
        """Return the tensor with all but `count` random entries set to zero."""
        kept = torch.randperm(tensor.numel(), device=tensor.device)[:count]
        mask = torch.zeros(tensor.numel(), dtype=torch.bool, device=tensor.device).index_fill(0, kept, True)
        return torch.where(mask.view_as(tensor), tensor, torch.zeros_like(tensor))
