"""Uniform quantisation: equally spaced levels up to the largest magnitude of every tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require
from ._quantising import BITS, on_levels, outside, quantised

Rounding = Literal["stochastic", "nearest"]


@dataclass(frozen=True)
class UniformQuantisation(Defense):
    """Uniform quantisation: every entry becomes a multiple of max|g| / s, with s = 2^bits - 1 levels per tensor.

    Konečný et al. (2016, section 3) round stochastically between the smallest and the largest entry of a tensor; here
    the levels are symmetric around 0, and the sign is not counted in the bits.

    An adversary that knows this defense compares a candidate's entry with the cell of values that are rounded to the
    observed one: half a level on both sides, or a whole one under stochastic rounding. Over several rounds it takes the
    mean, which is unbiased under stochastic rounding.

    Args:
        bits: Bits of the magnitude, 1 to 16, besides the sign.
        rounding: `"stochastic"`, up with a probability equal to the remainder; or to the `"nearest"` level.
    """

    example: ClassVar[tuple[Any, ...]] = (4,)
    paper: ClassVar[str] = "arXiv:1610.05492"
    doubt: ClassVar[Doubt] = Doubt(
        "the rounding of every entry is part of what the attack matches, so that the private examples no longer have "
        "the lowest objective. An adversary that knows the defense (DEFENSE) compares cells of values and may recover "
        "more",
        "its equations hold up to the rounding only, which least squares and rank decisions amplify",
    )
    bits: int
    rounding: Rounding = "stochastic"

    def __post_init__(self) -> None:
        require(self.bits in BITS, self, "bits must be from 1 to 16")
        require(self.rounding in ("stochastic", "nearest"), self, "rounding must be stochastic or nearest")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor rounded to its levels."""
        return each(tensors, lambda g: quantised(g, g.abs().amax(), self.bits, self.rounding == "stochastic"))

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the observed update plus that by which the candidate lies outside its cells."""
        return tuple(o + self._outside(c, o) for c, o in zip(candidate, observed, strict=True))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance to the cells of the observed values."""
        pairs = zip(candidate, observed, strict=True)
        return -torch.stack([self._outside(c, o).square().sum() for c, o in pairs]).sum()

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance to the observed update, of what lies outside the cells.

        The squared distance to the cells recovers more on smooth networks, and no more than no knowledge on ReLU ones.
        """
        return distance(self.simulate(candidate, observed), observed)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with the least bits whose levels hold all values; rounded to nearest if rounds agree.

        Raises:
            AttackFailed: No number of bits gives the observed values, or all are 0.
        """
        fitting = (bits for bits in BITS if all(on_levels(tensor, 2**bits - 1) for tensor in rounds[0]))
        bits = next(fitting, None)
        if bits is None or not any(tensor.any() for tensor in rounds[0]):
            raise AttackFailed(f"{cls.name}: the observed values are not levels of 1 to 16 bits, or all are zero.")
        same = len(rounds) > 1 and all(map(torch.equal, rounds[0], rounds[1]))
        return cls(bits, "nearest" if same else "stochastic")

    def _outside(self, candidate: Tensor, observed: Tensor) -> Tensor:
        level = observed.abs().amax() / (2**self.bits - 1)
        return outside(candidate, observed, level if self.rounding == "stochastic" else level / 2)
