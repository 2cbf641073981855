"""A gradient rounded to five levels instead of its sign, as in the code of HFGradInv (Ye et al., 2024, section 4.3)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..part import GradientTransform, Progress


@dataclass(frozen=True)
class QuantisedSign(GradientTransform):
    """A gradient transform that rounds every entry to ±0.2, ±0.6 or ±1; a zero stays 0.

    The result is 0.2 sign(q) + 0.8 clip(round(2 q / median|q|) / 2, -1, 1), with the median over all entries of one
    seed. Entries far below the median weigh a fifth of those above it. The paper writes the plain sign, which is
    `Sign`.

    Args:
        doubled: Fraction of the stage, from its beginning, during which the result is doubled; the code doubles the
            first 101 of 15 000 iterations. Adam is affected only where the factor ends: its second moment remembers the
            larger gradients, so that steps are shorter for a while. 0 never doubles.
    """

    independent: ClassVar[bool] = True

    doubled: float = 101 / 15_000

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        flat = gradient.flatten(1)
        middle = flat.abs().median(1, keepdim=True).values.clamp_min(torch.finfo(flat.dtype).tiny)
        levels = 0.2 * flat.sign() + 0.8 * (2 * flat / middle).round().div(2).clamp(-1, 1)
        if at.step < round(self.doubled * at.steps):
            levels = 2 * levels
        return levels.view_as(gradient)
