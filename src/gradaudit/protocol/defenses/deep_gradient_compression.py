"""Deep Gradient Compression (Lin et al., 2018, algorithm 4): what is not sent now accumulates for later rounds."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...values.types import Tensors, Update
from ._defense import Defense, Distance, Doubt, Scene, require
from ._supports import explained_sparsely, on_support, share_of_zeros, sparse_likelihood


@dataclass(frozen=True)
class DeepGradientCompression(Defense):
    """Deep Gradient Compression: every tensor sends its largest accumulated entries and keeps the rest for later.

    With the gradient g of a round, u = momentum·u + g and v = v + u; the largest entries of v are sent and then set to
    zero in v and in u (momentum correction and momentum factor masking, sections 3.2 and 3.3). The memory u, v belongs
    to one client over its rounds and begins with zeros. Gradient clipping and the warm-up of the share are left out.
    `protect` is the first round.

    The memory breaks the promise of a sparse round: what a round holds back is sent later. An adversary that has the
    client's first rounds of one batch knows by which factor every sent entry had accumulated, and divides by it.

    Args:
        keep: Fraction of each tensor's entries that is sent, in (0, 1], at least one entry; 0.001 in the paper.
        momentum: In [0, 1); 0.9 in the paper.
    """

    name: ClassVar[str] = "dgc"
    example: ClassVar[tuple[Any, ...]] = (0.1,)
    paper: ClassVar[str] = "arXiv:1712.01887"
    doubt: ClassVar[Doubt] = Doubt(
        "the entries that were held back count as observed zeros, although the true gradient is not zero there. An "
        "adversary that knows the defense (DEFENSE) compares the sent entries alone, over several rounds, and may "
        "recover more",
        "its equations need the entries that were held back",
    )
    keep: float
    momentum: float = 0.9

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, self, "keep must be in (0, 1]")
        require(0 <= self.momentum < 1, self, "momentum must be in [0, 1)")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return what the first round sends."""
        return self._sent(tensors, {})

    def apply(self, update: Update, scene: Scene) -> Update:
        """Return what this round sends, and write what it holds back into the scene's memory."""
        return replace(update, tensors=dict(zip(update.tensors, self._sent(update.values, scene.memory), strict=True)))

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate on the support of the observed update."""
        return on_support(candidate, observed)

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance on the support, and off it that by which the candidate is too large.

        What was not sent in one round, or in any of several, has at most the smallest magnitude that was sent.
        """
        return sparse_likelihood(observed, candidate)

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance on the support, plus the relative square of what is too large off it."""
        return explained_sparsely(candidate, observed, distance)

    def joined(self, rounds: Sequence[Tensors]) -> Tensors:
        """Return every entry that any of the client's first rounds sent, divided by what it had accumulated to."""
        return tuple(self._accumulated(tensors) for tensors in zip(*rounds, strict=True))

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense whose share is that of the sent entries of the first update, with the paper's momentum."""
        return cls(share_of_zeros(cls, rounds))

    def _sent(self, tensors: Tensors, memory: MutableMapping[str, Any]) -> Tensors:
        nothing = tuple(map(torch.zeros_like, tensors))
        velocities, held = memory.get("velocity", nothing), memory.get("accumulated", nothing)
        velocities = tuple(self.momentum * u + g for u, g in zip(velocities, tensors, strict=True))
        held = tuple(v + u for v, u in zip(held, velocities, strict=True))
        masks = tuple(self._largest(v) for v in held)
        memory["velocity"] = tuple(u * ~mask for u, mask in zip(velocities, masks, strict=True))
        memory["accumulated"] = tuple(v * ~mask for v, mask in zip(held, masks, strict=True))
        return tuple(v * mask for v, mask in zip(held, masks, strict=True))

    def _largest(self, tensor: Tensor) -> Tensor:
        kept = tensor.flatten().abs().topk(max(1, round(self.keep * tensor.numel()))).indices
        mask = torch.zeros(tensor.numel(), dtype=torch.bool, device=tensor.device)
        return mask.index_fill(0, kept, True).view_as(tensor)

    def _accumulated(self, rounds: Sequence[Tensor]) -> Tensor:
        """Return the sent sum of every entry divided by the sum of its factors, zero where nothing was sent."""
        speed, factor, total = (torch.zeros_like(rounds[0]) for _ in range(3))
        for sent in rounds:
            speed = self.momentum * speed + 1
            factor = factor + speed
            total = total + factor * (sent != 0)
            speed, factor = speed * (sent == 0), factor * (sent == 0)
        return torch.stack(tuple(rounds)).sum(0) / total.clamp_min(1)
