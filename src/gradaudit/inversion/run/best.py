"""The best iterate of every guess so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Best:
    """The values of all leaves at the lowest total so far, per guess, kept on the device.

    Args:
        leaves: Each `[guesses, ...]`.
        guesses: How many there are.
    """

    def __init__(self, leaves: list[Tensor], guesses: int) -> None:
        self.leaves = leaves
        self.kept = [leaf.detach().clone() for leaf in leaves]
        self.scores = leaves[0].detach().new_full((guesses,), torch.inf)
        self.falls = torch.zeros(guesses, dtype=torch.int64, device=leaves[0].device)

    @torch.no_grad()
    def offer(self, scores: Tensor) -> None:
        """Keep the leaves of every guess that scores lower than before."""
        better = scores < self.scores
        self.scores = torch.where(better, scores, self.scores)
        self.falls += better
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            mask = better.view(-1, *[1] * (leaf.ndim - 1))
            torch.where(mask, leaf, kept, out=kept)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the kept values back into the leaves."""
        for kept, leaf in zip(self.kept, self.leaves, strict=True):
            leaf.copy_(kept)

    @property
    def fell(self) -> bool:
        """Whether any guess has come below its first total."""
        return bool((self.falls > 1).any())

    @property
    def held(self) -> list[Tensor]:
        """Everything that a kept run must put back."""
        return [*self.kept, self.scores, self.falls]

    def state(self) -> dict[str, Any]:
        """Return the same by name."""
        return {"kept": self.kept, "scores": self.scores, "falls": self.falls}
