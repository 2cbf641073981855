"""Batteries: frozen, versioned lists of attacks without parameters, by which audits can be compared.

A battery is never changed: a better choice of attacks is a new one. `benchmarks/results/battery.md` has the
measurements behind the choice.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..attacks import (
    april_patches,
    bag_of_words,
    dager,
    inverting_gradients,
    inverting_gradients_fast,
    lamp,
    sme,
    tableak,
    tag,
)
from ..inversion.attack import Attack
from ..inversion.parts.labels.mean_counts import BiasCounts
from ..values.types import Modality


class Fit(enum.StrEnum):
    """For which clients an attack is made, beyond the kind of data and the adversary's knowledge."""

    ANY = "any client"
    ONE_IMAGE_OF_A_TRANSFORMER = "one example and one step of a vision transformer"
    SEVERAL_STEPS = "the weight difference of several local steps"
    DECODER = "a decoder with two attention layers"


@dataclass(frozen=True)
class Member:
    """One attack of a battery.

    Args:
        attack: The attack, with all its parameters.
        seed: Seed of the attack, on every update and in every audit.
        fit: The clients that it is made for.
        optional: Whether the battery does without it if it refuses to run, as closed forms do.
    """

    attack: Attack
    seed: int = 0
    fit: Fit = Fit.ANY
    optional: bool = False


@dataclass(frozen=True)
class Battery:
    """A frozen list of attacks for each kind of data.

    Args:
        name: Name with its version; another choice of attacks has another name.
        members: Kind of data -> its attacks, in the order in which they run: what an attack leaves of its share of a
            budget goes to those after it.
        meaning: One sentence about it.
    """

    name: str
    members: Mapping[Modality, tuple[Member, ...]]
    meaning: str

    @property
    def fingerprint(self) -> str:
        """Hash of all that its results depend on, so that no change goes unnoticed; remarks on papers do not count."""
        facts = [
            (str(modality), member.seed, str(member.fit), member.optional, repr(_without_remarks(member.attack)))
            for modality, members in self.members.items()
            for member in members
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Origin:
    """Where an attack of an audit comes from.

    Args:
        battery: Name of its battery, empty if the attack itself was named.
        seed: Seed of the attack in the battery; `None` derives one from that of the run.
        optional: Whether the battery does without it if it refuses to run.
    """

    battery: str = ""
    seed: int | None = None
    optional: bool = False


def _without_remarks(attack: Any) -> Any:
    """Return an attack without the sentences on how it differs from its paper."""
    inner = getattr(attack, "attack", None)
    return replace(attack, deviations=(), **({} if inner is None else {"attack": _without_remarks(inner)}))


NAMED = Origin()
"""The origin of an attack that the user named."""

_INFERRED = BiasCounts()  # used where LABELS is not granted


def _short(original: Any, *remarks: str, **changes: Any) -> Any:
    """Return a shorter attack under a name of its own, so that nobody takes it for the published one."""
    return replace(original, name=f"{original.name}-short", deviations=(*original.deviations, *remarks), **changes)


_FAST = replace(inverting_gradients_fast.ATTACK, labels=_INFERRED)
_SMOOTH = _short(
    inverting_gradients.EXACT,
    "takes 300 steps instead of 4 800",
    labels=_INFERRED,
    stages=(replace(inverting_gradients.EXACT.stages[0], steps=300),),
)
_START = replace(lamp.ATTACK.stages[-1], steps=600)
_TAG = _short(
    tag.ATTACK,
    "takes 600 steps instead of 2 500, from the start and at the learning rate of LAMP",
    stages=(replace(_START, terms=(), moves=()),),
)
_LAMP = _short(
    lamp.ATTACK,
    "takes 600 steps instead of 2 000, without reordering, which needs public texts",
    labels=_INFERRED,
    stages=(lamp.ATTACK.stages[0], replace(_START, moves=())),
)
_ROWS = _short(
    tableak.ATTACK,
    "has 10 members instead of 30",
    attack=replace(tableak.MEMBER, labels=_INFERRED),
    members=10,
)

STANDARD_1 = Battery(
    "standard-1",
    {
        Modality.PICTURES: (
            Member(april_patches.ATTACK, fit=Fit.ONE_IMAGE_OF_A_TRANSFORMER, optional=True),
            Member(_FAST),
            Member(_SMOOTH),
            Member(replace(sme.ATTACK, labels=_INFERRED), fit=Fit.SEVERAL_STEPS),
        ),
        Modality.TEXT: (
            Member(bag_of_words.ATTACK, optional=True),
            Member(dager.ATTACK, fit=Fit.DECODER, optional=True),
            Member(_TAG),
            Member(_LAMP),
        ),
        Modality.TABLE: (Member(_ROWS),),
    },
    "Closed forms where they fit, then the strongest attacks for each kind of data that end within minutes on a CPU.",
)

BATTERIES: Mapping[str, Battery] = {STANDARD_1.name: STANDARD_1}
"""All batteries, by name."""
DEFAULT = STANDARD_1.name
"""The attacks of an audit file that names none."""
