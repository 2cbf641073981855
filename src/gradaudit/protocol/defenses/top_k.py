"""Sparsification: only the largest entries are shared (Zhu et al., 2019, section 5.2; Lin et al., 2018)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...values.types import Tensors
from ._defense import Distance
from ._supports import Sparsification, explained_sparsely, sparse_likelihood


@dataclass(frozen=True)
class TopK(Sparsification):
    """Top-k sparsification: keeps the entries of largest magnitude of every tensor and sets the others to zero.

    An adversary that knows this defense compares only the entries where the observed update is not zero, and bounds the
    others by the smallest magnitude that was kept.

    Args:
        keep: Fraction of each tensor's entries that is kept, in (0, 1], at least one entry; 90 % pruning is 0.1.
    """

    paper: ClassVar[str] = "arXiv:1712.01887"

    def sparse(self, tensor: Tensor, count: int) -> Tensor:
        """Return the tensor with all but its `count` largest entries set to zero."""
        kept = tensor.flatten().abs().topk(count).indices
        return torch.zeros_like(tensor).flatten().index_copy(0, kept, tensor.flatten()[kept]).view_as(tensor)

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance on the support, and off it that by which the candidate is too large.

        An entry that was not kept has at most the smallest magnitude that its tensor kept.
        """
        return sparse_likelihood(observed, candidate)

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance on the support, plus the relative square of what is too large off it."""
        return explained_sparsely(candidate, observed, distance)
