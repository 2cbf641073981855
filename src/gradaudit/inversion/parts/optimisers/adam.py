"""Adam with a schedule in fractions of the stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ....values.validation import Decay, Fraction, NonNegative
from ._scheduled_adam import ScheduledAdam


@dataclass(frozen=True)
class Adam(ScheduledAdam):
    """Adam (Kingma & Ba, 2015) with a schedule in fractions of the stage.

    Args:
        lr: Learning rate in normalised pixels per step.
        milestones: Fractions of the stage at which the learning rate is multiplied by `factor`.
        factor: See `milestones`.
        cosine: Whether the learning rate decays to zero along half a cosine, after the warm-up.
        warm_up: Fraction of the stage over which the learning rate rises linearly from near zero.
        betas: Decay of the two moments.
    """

    lr: NonNegative = 0.1
    milestones: tuple[Fraction, ...] = ()
    factor: NonNegative = 0.1
    cosine: bool = False
    warm_up: Fraction = 0.0
    betas: tuple[Decay, Decay] = (0.9, 0.999)

    def scale(self, step: int, steps: int) -> float:
        """Return the factor on the learning rate at `step` (from 0) of `steps`."""
        value = self.factor ** sum(step >= math.floor(m * steps) for m in self.milestones)
        rising = self.warm_up * steps
        if step + 1 < rising:
            return value * (step + 1) / rising
        if self.cosine:
            value *= 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))
        return value
