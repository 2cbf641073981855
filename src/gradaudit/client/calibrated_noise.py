"""How large the noise of a client's defenses is, and what it is measured against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from ..metrics.bounds import DELTA, gaussian_epsilon
from ..protocol.defenses import ActsOn, Defense
from ..protocol.defenses.additive_noise import GaussianNoise, LaplaceNoise
from ..protocol.defenses.clipping import Clip
from ..protocol.defenses.top_k import TopK
from ..values.protection import CalibratedNoise, DefenseEffect

CLIENT, RECORD = "client", "record"
ALL = "all of them together"
"""Name of the effect of several defenses."""
NO_NOISE = "It adds no noise of known size."
NOT_CLIPPED = "Its noise is not measured against a clipped update: clip of the whole update must stand right before it."
RELATIVE = "Its noise is scaled by the update itself, so that its size depends on the private examples."
OTHER_NOISE = "Only Gaussian noise after clip has a bound of this kind."
UNCOUNTED = "The number of local steps is unknown, because the number of examples is."
SEEN = "Another of its defenses sees the private examples, and the noise does not cover what it does with them."
REASONS = (SEEN, NO_NOISE, NOT_CLIPPED, RELATIVE, OTHER_NOISE, UNCOUNTED)
"""Everything that `FoundNoise.why_not` can say. It holds nothing private."""


@runtime_checkable
class Calibrated(Protocol):
    """A defense that clips each example and adds Gaussian noise in every local step, such as DP-SGD.

    `noise_multiplier` is the standard deviation of the noise on the sum of the clipped gradients, divided by the
    clipping norm. A field `steps`, if there is one, is the number of noisy steps that the update sums up.
    """

    noise_multiplier: float


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


def noise_of(defenses: Sequence[Defense], *, steps: int = 1, rounds: int = 1) -> FoundNoise:
    """Return the calibrated noise of a client's defenses, or why there is none.

    `clip` with norm C puts every possible update into a ball of radius C around zero, whatever the batch is. Gaussian
    noise of standard deviation s after it has the multiplier s / C, for the whole update and also for one example of
    B: only the whole update is clipped, so that one example could move it through the whole ball, and dividing by B
    would need clipped examples. `top-k` in between makes an update shorter only. What follows the noise and sees
    nothing else changes no bound. A defense that clips each example states its own multiplier (`Calibrated`); it bounds
    an example only if no other defense sees the examples.

    Args:
        defenses: The defenses, in order.
        steps: Number of local steps.
        rounds: Number of updates of the same batch.
    """
    radius, why = math.inf, NO_NOISE if defenses else ""
    for place, defense in enumerate(defenses):
        if isinstance(defense, Calibrated) and defense.noise_multiplier > 0:
            if seen_beside(defenses, place):
                return FoundNoise(None, why_not=SEEN)
            times = rounds * (getattr(defense, "steps", 0) or max(1, steps))
            return FoundNoise(CalibratedNoise(float(defense.noise_multiplier), times, RECORD), place)
        if isinstance(defense, Clip) and defense.per == "update":  # not the norm of a tensor or of an entry
            radius = min(radius, float(defense.norm))
        elif math.isfinite(radius) and (deviation := _deviation_from(defenses[place:])):
            if any(_sees_examples(other) for other in defenses[place:]):
                return FoundNoise(None, why_not=SEEN)
            return FoundNoise(CalibratedNoise(deviation / radius, rounds, CLIENT), place)
        elif not isinstance(defense, TopK):
            radius, why = math.inf, _why(defense)
    return FoundNoise(None, why_not=why)


def seen_beside(defenses: Sequence[Defense], place: int) -> bool:
    """Return whether a defense other than the one at `place` sees the private examples beside it."""
    return any(acts_early(one) or _sees_examples(one) for at, one in enumerate(defenses) if at != place)


def acts_early(defense: Defense) -> bool:
    """Return whether a defense acts on the batch or the training, and sees the examples before there is an update."""
    return defense.acts_on in (ActsOn.BATCH, ActsOn.TRAINING)


def _sees_examples(defense: Defense) -> bool:
    """Return whether a defense of the update is given more than the update (`apply`), such as the private examples."""
    return type(defense).apply is not Defense.apply


def noise_deviation(defense: Defense, tensor: Tensor) -> float | None:
    """Return the standard deviation of the noise that a defense adds to each entry of a tensor, `None` if unknown."""
    if isinstance(defense, GaussianNoise):
        spread = defense.std
    elif isinstance(defense, LaplaceNoise):
        spread = math.sqrt(2) * defense.scale
    else:
        return None
    return spread * (float(tensor.abs().max()) if defense.relative else 1.0)


def with_epsilon(effects: Sequence[DefenseEffect], found: FoundNoise, rounds: int = 1) -> tuple[DefenseEffect, ...]:
    """Return the effects with the epsilon that one of the rounds spends, at the defense that adds noise and at all.

    Args:
        effects: The effects of all defenses.
        found: The noise of all rounds.
        rounds: Number of updates of the same batch.
    """
    if found.noise is None:
        return tuple(effects)
    epsilon = float(f"{gaussian_epsilon(found.noise.multiplier, found.noise.steps // rounds):.4g}")
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
        variance += defense.std * defense.std
    return math.sqrt(variance)


def _why(defense: Defense) -> str:
    if isinstance(defense, GaussianNoise) and defense.std:
        return RELATIVE if defense.relative else NOT_CLIPPED
    return OTHER_NOISE if isinstance(defense, LaplaceNoise) else NO_NOISE
