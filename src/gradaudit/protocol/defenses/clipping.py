"""Clipping the update: to an L2 norm as a whole or tensor by tensor, or entry by entry (Abadi et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require

Per = Literal["update", "tensor", "value"]
ROUNDED = 1e-5  # relative: a clipped norm or entry equals the bound up to rounding


@dataclass(frozen=True)
class Clip(Defense):
    """Clipping: scales the update, or each tensor, down to L2 norm `norm`, or clips each entry to [-norm, norm].

    Abadi et al. (2016, algorithm 1) clip the gradient of every example; this clips the update of the whole batch.
    Clipping the whole update does not change its direction, so that an attack with a cosine objective is unaffected.
    Clipping tensors or entries changes it.

    An adversary that knows this defense clips its candidate in the same way. An entry at the bound only says that the
    true one is at least as large, and is compared as such.

    Args:
        norm: Largest L2 norm of all tensors together or of each tensor, or largest magnitude of an entry; positive.
        per: What is clipped: `"update"` (all tensors together), `"tensor"`, or `"value"` (every entry).
    """

    example: ClassVar[tuple[Any, ...]] = (1.0,)
    paper: ClassVar[str] = "arXiv:1607.00133"
    norm: float
    per: Per = "update"

    @property
    def doubt(self) -> Doubt:  # type: ignore[override]
        """Why the result of an attack that does not know it is unreliable; directions suffer unless all is scaled."""
        return Doubt(
            "the update was clipped, and an objective that compares lengths cannot reach zero at the private examples. "
            "An adversary that knows the defense (DEFENSE), or compares directions, may recover more"
            if self.per == "update"
            else "the tensors or entries were clipped by different factors, so that even the direction of the update "
            "changed. An adversary that knows the defense (DEFENSE) may recover more",
            direction=self.per != "update",
        )

    def __post_init__(self) -> None:
        require(self.norm > 0, self, "norm must be positive")
        require(self.per in ("update", "tensor", "value"), self, "per must be update, tensor or value")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return the tensors scaled by `min(1, norm / L2 norm)`, or their entries clipped."""
        if self.per == "value":
            return each(tensors, lambda g: g.clamp(-self.norm, self.norm))
        if self.per == "tensor":
            return each(tensors, lambda g: g * self._scale(g.norm()))
        scale = self._scale(_length(tensors))
        return each(tensors, lambda g: g * scale)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate clipped in the same way; entries on the wrong side of a clipped one stay as they are."""
        if self.per != "value":
            return self.protect(candidate)
        return tuple(map(self._up_to_bound, candidate, observed))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the sum of the distances of what was clipped.

        The distance of a clipped update or tensor is that of its direction, 1 - cosine; of a tensor that was not
        clipped, the squared distance over norm²; of entries, the squared distance, which is zero beyond the bound.
        """
        if self.per == "update":
            candidate, observed = ((torch.cat([t.flatten() for t in side]),) for side in (candidate, observed))
        pairs = zip(self.simulate(candidate, observed) if self.per == "value" else candidate, observed, strict=True)
        apart = _square if self.per == "value" else self._of_scaled
        return -torch.stack([apart(c, o) for c, o in pairs]).sum()

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance to the clipped candidate; of clipped tensors, the negative log-likelihood.

        One factor for each tensor is unknown, and a distance of the whole update weights small tensors too little.
        """
        if self.per == "tensor":
            return super().mismatch(candidate, observed, distance)
        return distance(self.simulate(candidate, observed), observed)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose bound the first update attains: as entries, as norms of tensors, or as its norm.

        It takes entries if several have the largest magnitude, and tensors if several have the largest norm.
        """
        entries = torch.cat([t.flatten().abs() for t in rounds[0]])
        norms = torch.stack([t.norm() for t in rounds[0]])
        if (entries >= entries.max() * (1 - ROUNDED)).sum() > 1:
            return cls(float(entries.max()), "value")
        if (norms >= norms.max() * (1 - ROUNDED)).sum() > 1:
            return cls(float(norms.max()), "tensor")
        return cls(float(_length(rounds[0])))

    def _scale(self, length: Tensor) -> Tensor:
        return (self.norm / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1)

    def _of_scaled(self, candidate: Tensor, observed: Tensor) -> Tensor:
        length = observed.norm()
        if length < self.norm * (1 - ROUNDED):
            return _square(candidate, observed) / self.norm**2
        ours = _square(candidate, torch.zeros_like(candidate)).clamp_min(torch.finfo(candidate.dtype).tiny).sqrt()
        return 1 - (candidate * (observed / length)).sum() / ours

    def _up_to_bound(self, candidate: Tensor, observed: Tensor) -> Tensor:
        side = observed.sign()
        clipped = observed.abs() >= self.norm * (1 - ROUNDED)
        return torch.where(clipped, side * (side * candidate).clamp_max(self.norm), candidate)


def _length(tensors: Tensors) -> Tensor:
    return torch.stack([g.norm() for g in tensors]).norm()


def _square(candidate: Tensor, observed: Tensor) -> Tensor:
    return (candidate - observed).square().sum()
