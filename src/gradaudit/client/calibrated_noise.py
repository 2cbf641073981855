"""How large the noise of a client's defenses is, and what it is measured against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from ..metrics.bounds import DELTA, gaussian_epsilon
from ..protocol.defenses import Defense
from ..protocol.defenses.additive_noise import GaussianNoise, LaplaceNoise
from ..protocol.defenses.clipping import Clip
from ..protocol.defenses.top_k import TopK
from ..values.protection import CalibratedNoise, DefenseEffect

CLIENT, RECORD = "client", "record"
ALL = "all of them together"
"""Name of the effect of several defenses."""
NO_NOISE = "It adds no noise of known size."
NOT_CLIPPED = "Its noise is not measured against a clipped update: clip must come directly before it."
RELATIVE = "Its noise is scaled by the update itself, so that its size depends on the private examples."
OTHER_NOISE = "Only Gaussian noise after clip has a bound of this kind."
REASONS = (NO_NOISE, NOT_CLIPPED, RELATIVE, OTHER_NOISE)
"""Everything that `FoundNoise.why_not` can say. It holds nothing private."""


@runtime_checkable
class Calibrated(Protocol):
    """A defense that clips each example and adds Gaussian noise in every local step, such as DP-SGD.

    `noise_multiplier` is the standard deviation of the noise on the sum of the clipped gradients, divided by the
    clipping norm. `steps` is the number of noisy steps that the update sums up.
    """

    noise_multiplier: float
    steps: int


@runtime_checkable
class Accounted(Protocol):
    """A defense that keeps its own account of epsilon, such as NVFlare's `SVTPrivacy`."""

    def spent(self, entries: int) -> float:
        """Return the epsilon, with a delta of 0, that one round spends on an update with this many entries."""
        ...


class FoundNoise(NamedTuple):
    """The calibrated noise of a client's defenses, with the position of the defense that adds it.

    Without it `why_not` is a sentence, which is empty for a client without defenses.
    """

    noise: CalibratedNoise | None
    place: int = -1
    why_not: str = ""


def noise_of(defenses: Sequence[Defense]) -> FoundNoise:
    """Return the calibrated noise of a client's defenses, or why there is none.

    `clip` with norm C puts every possible update into a ball of radius C around zero, whatever the batch is. Gaussian
    noise of standard deviation s after it has the multiplier s / C, for the whole update and also for one example of
    B: only the whole update is clipped, so that one example could move it through the whole ball, and dividing by B
    would need clipped examples. `top-k` in between makes an update shorter only. What follows the noise sees nothing
    else, and changes no bound. A defense that clips each example states its own multiplier (`Calibrated`).
    """
    radius, why = math.inf, NO_NOISE if defenses else ""
    for place, defense in enumerate(defenses):
        if isinstance(defense, Calibrated) and defense.noise_multiplier > 0:
            return FoundNoise(CalibratedNoise(float(defense.noise_multiplier), max(1, defense.steps), RECORD), place)
        if isinstance(defense, Clip):
            radius = min(radius, defense.norm)
        elif math.isfinite(radius) and (deviation := _deviation_from(defenses[place:])):
            return FoundNoise(CalibratedNoise(deviation / radius, 1, CLIENT), place)
        elif not isinstance(defense, TopK):
            radius, why = math.inf, _why(defense)
    return FoundNoise(None, why_not=why)


def noise_deviation(defense: Defense, tensor: Tensor) -> float | None:
    """Return the standard deviation of the noise that a defense adds to each entry of a tensor, `None` if unknown."""
    if isinstance(defense, GaussianNoise):
        spread = defense.std
    elif isinstance(defense, LaplaceNoise):
        spread = math.sqrt(2) * defense.scale
    else:
        return None
    return spread * (float(tensor.abs().max()) if defense.relative else 1.0)


def with_epsilon(effects: Sequence[DefenseEffect], found: FoundNoise) -> tuple[DefenseEffect, ...]:
    """Return the effects with the epsilon of the calibrated noise, at the defense that adds it and at all together."""
    if found.noise is None:
        return tuple(effects)
    epsilon = float(f"{gaussian_epsilon(found.noise.multiplier, found.noise.steps):.4g}")
    return tuple(
        replace(one, epsilon=epsilon, delta=DELTA, unit=found.noise.unit)
        if place == found.place or one.defense == ALL
        else one
        for place, one in enumerate(effects)
    )


def _deviation_from(defenses: Sequence[Defense]) -> float:
    """Return the standard deviation of all absolute Gaussian noise at the beginning of these defenses."""
    variance = 0.0
    for defense in defenses:
        if not isinstance(defense, GaussianNoise) or defense.relative:
            break
        variance += defense.std**2
    return math.sqrt(variance)


def _why(defense: Defense) -> str:
    if isinstance(defense, GaussianNoise) and defense.std:
        return RELATIVE if defense.relative else NOT_CLIPPED
    return OTHER_NOISE if isinstance(defense, LaplaceNoise) else NO_NOISE
