"""Sparse updates as an adversary reads them: the entries that are not zero are the support."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require


@dataclass(frozen=True)
class Sparsification(Defense, ABC):
    """A defense that keeps a share of the entries of every tensor (`sparse`) and sets the others to zero.

    Args:
        keep: Fraction of each tensor's entries that is kept, in (0, 1], at least one entry; 90 % pruning is 0.1.
    """

    example: ClassVar[tuple[Any, ...]] = (0.5,)
    doubt: ClassVar[Doubt] = Doubt(
        "the entries that were set to zero count as observed zeros, although the true gradient is not zero there. An "
        "adversary that knows the defense (DEFENSE) compares the kept entries alone and may recover more",
        "its equations need the entries that were set to zero",
    )
    keep: float

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, self, "keep must be in (0, 1]")

    @abstractmethod
    def sparse(self, tensor: Tensor, count: int) -> Tensor:
        """Return the tensor with all but `count` of its entries set to zero."""

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor with all but its share of the entries set to zero."""
        return each(tensors, lambda tensor: self.sparse(tensor, max(1, round(self.keep * tensor.numel()))))

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


def on_support(candidate: Tensors, observed: Tensors) -> Tensors:
    """Return the candidate where the observed update is not zero, and zero elsewhere."""
    return tuple(c * (o != 0) for c, o in zip(candidate, observed, strict=True))


def excess(candidate: Tensors, observed: Tensors) -> Tensors:
    """Return by how much the candidate exceeds, off the support, the smallest observed magnitude of each tensor.

    An entry that was not among the largest has at most that magnitude. The result is zero on the support.
    """
    return tuple(_beyond(c, o) for c, o in zip(candidate, observed, strict=True))


def _beyond(candidate: Tensor, observed: Tensor) -> Tensor:
    off = observed == 0
    smallest = observed.abs().masked_fill(off, torch.inf).amin()
    return torch.where(off, candidate.sign() * (candidate.abs() - smallest).relu(), torch.zeros_like(candidate))


def sparse_likelihood(observed: Tensors, candidate: Tensors) -> Tensor:
    """Return minus the squared distance on the support, and minus that of the excess off it."""
    matched = zip(on_support(candidate, observed), observed, strict=True)
    parts = [(c - o).square().sum() for c, o in matched]
    return -torch.stack([*parts, *(e.square().sum() for e in excess(candidate, observed))]).sum()


def explained_sparsely(candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
    """Return the attack's own distance on the support, plus the squared excess off it over the observed square."""
    beyond = torch.stack([e.square().sum() for e in excess(candidate, observed)]).sum()
    square = torch.stack([o.square().sum() for o in observed]).sum()
    return distance(on_support(candidate, observed), observed) + beyond / square.clamp_min(
        torch.finfo(square.dtype).tiny
    )


def mean_where_shared(rounds: Sequence[Tensors]) -> Tensors:
    """Return the mean of every entry over the rounds in which it is not zero; zero if there is none."""
    return tuple(_mean(torch.stack(tensors)) for tensors in zip(*rounds, strict=True))


def _mean(stacked: Tensor) -> Tensor:
    return stacked.sum(0) / (stacked != 0).sum(0).clamp_min(1)


def share_of_zeros(defense: type[Defense], rounds: Sequence[Tensors]) -> float:
    """Return the share of the entries of the first update that are not zero; raise `AttackFailed` if none is zero."""
    kept = sum(int((t != 0).sum()) for t in rounds[0])
    entries = sum(t.numel() for t in rounds[0])
    if not 0 < kept < entries:
        found = "no entry is" if kept else "all entries are"
        raise AttackFailed(
            f"{defense.name}: {found} zero in the observed update, so that no sparsification is visible."
        )
    return kept / entries
