"""Compare only the largest entries of the observed update (partial gradient matching of FedLeak; Fan et al., 2025)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Tensors
from ....values.validation import Fraction
from ..part import Objective, Progress
from ._around import AroundObjective
from .cosine import Cosine


@dataclass(frozen=True)
class TopEntries(AroundObjective):
    """Another objective D over the entries of largest magnitude of the observed update, in each of its tensors.

    It is D(g[Λ], g*[Λ]). Λ holds the `share` of every tensor's entries in which |g*| is largest, rounded, and at least
    one. It depends on the observed update alone. FedLeak (Fan et al., USENIX Security 2025, arXiv:2506.08435) chooses Λ
    by the magnitude of the entries, and shows for the L1 distance that the right Λ keeps the solution and makes the
    problem better conditioned; the share is not published. Under noise, the largest entries have the best ratio of
    signal to noise; of an update of which only the largest entries are sent, Λ contains no entry that was removed as
    long as `share` is at most theirs.

    Args:
        objective: D, which sees every tensor as a vector of its chosen entries.
        share: Share of the entries that are compared, in (0, 1]; 1 is D itself.

    Raises:
        AttackFailed: `share` is 0 or out of range.
    """

    objective: Objective = field(default_factory=Cosine)
    share: Fraction = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.share:
            raise AttackFailed("TopEntries.share: should be above 0, or nothing is compared. Found 0.")

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the objective for this update."""
        if self.share == 1:
            return self.objective.bind(seen)
        names, values = seen.update.tensors, seen.update.values
        chosen = chosen_of(values, largest(values, self.share))
        kept = replace(seen.update, tensors=dict(zip(names, chosen, strict=True)))
        return _OverLargest(self.objective.bind(replace(seen, update=kept)), self.share)

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        if self.share == 1:
            return self.objective(candidate, observed, at)
        places = largest(observed, self.share)
        return self.objective(chosen_of(candidate, places), chosen_of(observed, places), at)


class _OverLargest:
    """D over the chosen entries, which are looked up once for each observed update."""

    def __init__(self, distance: Callable[..., Tensor], share: float) -> None:
        self.distance, self.share = distance, share
        self.of: Tensors = ()
        self.places: Tensors = ()
        self.observed: Tensors = ()

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        if len(self.of) != len(observed) or any(a is not b for a, b in zip(self.of, observed, strict=True)):
            self.of, self.places = observed, largest(observed, self.share)
            self.observed = chosen_of(observed, self.places)
        return self.distance(chosen_of(candidate, self.places), self.observed, at)


@torch.no_grad()
def largest(observed: Tensors, share: float) -> Tensors:
    """Return for each tensor the positions of this share of its entries of largest magnitude, `[k]`, in order."""
    return tuple(
        tensor.flatten().abs().topk(max(1, round(share * tensor.numel()))).indices.sort().values
        if tensor.numel()
        else torch.zeros(0, dtype=torch.int64, device=tensor.device)
        for tensor in observed
    )


def chosen_of(tensors: Sequence[Tensor], places: Sequence[Tensor]) -> Tensors:
    """Return the entries of each tensor at these positions, `[k]`."""
    return tuple(tensor.flatten()[place] for tensor, place in zip(tensors, places, strict=True))
