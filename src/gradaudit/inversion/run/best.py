"""The best iterate of every candidate so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Best:
    """The values of all leaves at the lowest total so far, per candidate, stored on the device.

    Args:
        leaves: Leaf tensors, each `[guesses, ...]`.
        guesses: Number of candidates.
    """

    def __init__(self, leaves: list[Tensor], guesses: int) -> None:
        self.leaves = leaves
        self.kept = [leaf.detach().clone() for leaf in leaves]
        self.scores = leaves[0].detach().new_full((guesses,), torch.inf)
        self.falls = torch.zeros(guesses, dtype=torch.int64, device=leaves[0].device)

    @torch.no_grad()
    def offer(self, scores: Tensor) -> None:
        """Store the leaves of every candidate whose score is lower than before."""
        better = scores < self.scores
        self.scores = torch.where(better, scores, self.scores)
        self.falls += better
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            mask = better.view(-1, *[1] * (leaf.ndim - 1))
            torch.where(mask, leaf, kept, out=kept)

    @torch.no_grad()
    def restore(self) -> None:
        """Write the stored values back into the leaves."""
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            leaf.copy_(kept)

    @property
    def fell(self) -> bool:
        """Whether any candidate has a total below its first one."""
        return bool((self.falls > 1).any())

    @property
    def held(self) -> list[Tensor]:
        """All tensors that a resumed run must restore."""
        return [*self.kept, self.scores, self.falls]

    def state(self) -> dict[str, Any]:
        """Return the same tensors by name."""
        return {"kept": self.kept, "scores": self.scores, "falls": self.falls}
