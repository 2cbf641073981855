"""Which defenses make the result of an attack unreliable, and why: sentences for the notes of a finding.

The objective of an attack is its only guide. A defense that the attack does not simulate moves the lowest objective
away from the private examples, so that "nothing was recovered" may say more about the attack than about the defense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..inversion.attack import Attack
from ..inversion.parts.objectives.chord import Chord
from ..inversion.parts.objectives.cosine import Cosine, LayerwiseCosine
from ..inversion.parts.objectives.weighted_cosine import WeightedCosine
from ..protocol.defenses import Defense
from ..values.types import Knowledge

DIRECTIONS = (Cosine, LayerwiseCosine, WeightedCosine, Chord)
"""Objectives that compare directions alone, so that clipping the whole update does not change them."""


class Doubt(NamedTuple):
    """What a defense does to attacks.

    Args:
        matching: The sentence for gradient matching.
        closed_form: The sentence for an attack without an objective that is optimised.
        simulated: Whether an adversary that is granted DEFENSE takes it into account.
        direction: Whether objectives that compare directions alone are affected.
    """

    matching: str
    closed_form: str = ""
    simulated: bool = True
    direction: bool = True


_NOISE = Doubt(
    "the noise is part of what the attack matches, and no adversary can simulate it: beyond a point a lower objective "
    "means more fitted noise, not a closer image. Stronger priors, a denoiser or a generator may recover more",
    "its equations hold up to the noise only, which least squares and rank decisions amplify",
    simulated=False,
)
DOUBTS: dict[str, Doubt] = {
    "gaussian-noise": _NOISE,
    "laplace-noise": _NOISE,
    "top-k": Doubt(
        "the entries that were set to zero count as observed zeros, although the true gradient is not zero there. An "
        "adversary that knows the defense (DEFENSE) compares the kept entries alone and may recover more",
        "its equations need the entries that were set to zero",
    ),
    "clip": Doubt(
        "the update was scaled down, and an objective that compares lengths cannot reach zero at the private examples. "
        "An adversary that knows the defense (DEFENSE), or compares directions, may recover more",
        direction=False,
    ),
}
"""Name of a defense -> what it does to attacks."""


def doubts(attack: Attack, defenses: Sequence[Defense], granted: Knowledge) -> tuple[str, ...]:
    """Return one sentence for each defense that makes the result of the attack unreliable.

    Args:
        attack: The attack.
        defenses: The defenses of the client that changed the update.
        granted: What the adversary knows.
    """
    found = []
    for defense in defenses:
        doubt = DOUBTS.get(defense.name)
        if doubt is None or (doubt.simulated and Knowledge.DEFENSE in granted):
            continue
        text = _text(attack, doubt)
        if text:
            found.append(f"Unreliable under {defense.name}: {text}.")
    return tuple(dict.fromkeys(found))


def _text(attack: Attack, doubt: Doubt) -> str:
    objective: Any = getattr(attack, "objective", None) or getattr(getattr(attack, "attack", None), "objective", None)
    if objective is None:
        return doubt.closed_form
    return doubt.matching if doubt.direction or not isinstance(objective, DIRECTIONS) else ""
