"""Adam whose learning rate is annealed to a fraction of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ....values.validation import Decay, Fraction, NonNegative
from ._scheduled_adam import ScheduledAdam


@dataclass(frozen=True)
class AnnealedAdam(ScheduledAdam):
    """Adam (Kingma & Ba, 2015) with cosine annealing to a fraction of the learning rate (Loshchilov & Hutter, 2017).

    The rate at step t of T is lr · (floor + (1 - floor) · (1 + cos(π t / T)) / 2).

    Args:
        lr: First learning rate in normalised pixels per step.
        floor: Last learning rate over the first one; `Adam(cosine=True)` decays to 0.
        betas: Decay of the two moments.
    """

    lr: NonNegative = 0.05
    floor: Fraction = 0.1
    betas: tuple[Decay, Decay] = (0.9, 0.999)

    def scale(self, step: int, steps: int) -> float:
        """Return the factor on the learning rate at `step` (from 0) of `steps`."""
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * step / steps)) / 2
