"""Clipping the update to a global L2 norm (Abadi et al., 2016, algorithm 1, on the whole update)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ...values.types import Tensors
from ._defense import Defense, Doubt, each, require


@dataclass(frozen=True)
class Clip(Defense):
    """Clipping: scales the whole update down to L2 norm `norm` if its norm is larger.

    Clipping does not change the direction of the update, so that an attack with a cosine objective is unaffected.

    Args:
        norm: Largest L2 norm of all tensors together, positive.
    """

    example: ClassVar[tuple[Any, ...]] = (1.0,)
    paper: ClassVar[str] = "arXiv:1607.00133"
    doubt: ClassVar[Doubt] = Doubt(
        "the update was scaled down, and an objective that compares lengths cannot reach zero at the private examples. "
        "An adversary that knows the defense (DEFENSE), or compares directions, may recover more",
        direction=False,
    )
    norm: float

    def __post_init__(self) -> None:
        require(self.norm > 0, self, "norm must be positive")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return all tensors times `min(1, norm / ||update||)`."""
        length = torch.stack([g.norm() for g in tensors]).norm()
        scale = (self.norm / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp_max(1)
        return each(tensors, lambda g: g * scale)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate clipped in the same way."""
        return self.protect(candidate)
