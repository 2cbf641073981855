"""QSGD (Alistarh et al., 2017, section 3.1): unbiased stochastic quantisation to levels of the L2 norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require
from ._quantising import BITS, bits_of, level_width, outside, quantised, spacing

ROUNDING = 1 / 6  # variance of stochastic rounding, of a remainder that is uniform in [0, 1]


@dataclass(frozen=True)
class Qsgd(Defense):
    """QSGD: every entry becomes a multiple of ||g||₂ / s, with s = 2^bits - 1 levels per tensor, on average itself.

    An entry between two levels is rounded up with a probability equal to its remainder. The paper quantises buckets of
    one vector; here every tensor is a bucket, and the coding of the levels is left out.

    An adversary that knows this defense reads the distance between levels off each tensor, and compares a candidate's
    entry with the two cells around the observed value. Over several rounds it takes the mean, which is unbiased.

    Args:
        bits: Bits of the magnitude, 1 to 16, besides the sign.
    """

    example: ClassVar[tuple[Any, ...]] = (4,)
    paper: ClassVar[str] = "arXiv:1610.02132"
    doubt: ClassVar[Doubt] = Doubt(
        "the rounding of every entry is part of what the attack matches, so that the private examples no longer have "
        "the lowest objective. An adversary that knows the defense (DEFENSE) compares cells of values, averages over "
        "rounds, and may recover more",
        "its equations hold up to the rounding only, which least squares and rank decisions amplify",
    )
    bits: int

    def __post_init__(self) -> None:
        require(self.bits in BITS, self, "bits must be from 1 to 16")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor rounded to its levels."""
        return each(tensors, lambda g: quantised(g, g.norm(), self.bits, stochastic=True))

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the observed update plus that by which the candidate lies outside its cells."""
        return tuple(o + outside(c, o, level_width(o)) for c, o in zip(candidate, observed, strict=True))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance to the cells: one level below and above each observed value."""
        return -torch.stack(
            [outside(c, o, level_width(o)).square().sum() for c, o in zip(candidate, observed, strict=True)]
        ).sum()

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance to the observed update, of what lies outside the cells."""
        return distance(self.simulate(candidate, observed), observed)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with the bits that the levels of the best resolved tensor show.

        The squared levels of a tensor sum to about s², plus the variance of the rounding, which is least where the
        levels are large. This is an estimate: few bits cannot be told apart on large tensors alone.

        Raises:
            AttackFailed: No tensor shows its levels: its values are 0, or not multiples of one number.
        """
        found = [_resolved(tensors) for tensors in zip(*rounds, strict=True)]
        resolution, levels = max(found, default=(0.0, 0.0))
        if not resolution:
            raise AttackFailed(f"{cls.name}: no tensor of the observed update shows the levels of a quantisation.")
        return cls(bits_of(levels))


def _resolved(rounds: Sequence[Tensor]) -> tuple[float, float]:
    """Return the mean squared level of one tensor, and its estimated number of levels s, from all rounds."""
    width = spacing(torch.stack(tuple(rounds)))
    if not width:
        return 0.0, 0.0
    squares = torch.stack([(tensor.double() / width).square().sum() for tensor in rounds]).mean()
    entries = rounds[0].numel()
    return float(squares) / entries, float((squares - ROUNDING * entries).clamp_min(1).sqrt())
