"""Check that the adversary knows enough and that the attack suits the data, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any

from ...protocol.observation import Observation
from ...values.errors import AttackFailed, MissingKnowledge
from ...values.types import Knowledge, Modality
from ..attack import Attack
from ..parts.part import Part


def attacked(name: str, seen: Observation) -> Observation:
    """Return a copy of `seen` that one run of the attack `name` may hook.

    Its model is in evaluation mode and in at least single precision.

    Raises:
        AttackFailed: The update is empty, so that any candidate would explain it.
    """
    if seen.update.emptiness:
        raise AttackFailed(f"{name}: {seen.update.emptiness}.")
    copy = seen.in_full_precision()
    copy.model.eval()
    return copy


def needs_given(attack: Attack, granted: Knowledge) -> Knowledge:
    """Return the facts that an attack uses if the adversary knows `granted`."""
    return reduce(or_, (part.needs for part in parts_used(attack, granted)), Knowledge.NOTHING)


def modality_of(attack: Attack) -> Modality | None:
    """Return the kind of data that an attack, or one of its parts, is made for; `None` if it works on any."""
    return next((modality for _, modality in _made_for(attack)), None)


def require_fit(attack: Attack, granted: Knowledge, modality: Modality, *, name: str = "") -> None:
    """Raise an error if an attack cannot work, whatever the update.

    Args:
        attack: The attack.
        granted: What the adversary knows.
        modality: What the client trains on.
        name: Name of the attack in the error; its own name by default.

    Raises:
        AttackFailed: The attack is made for another kind of data.
        MissingKnowledge: A part that is used needs a fact outside `granted`; the error names the first one.
    """
    name = name or attack.name
    for part, made_for in _made_for(attack):
        if made_for is not modality:
            who = f"{part!r} is" if isinstance(part, Part) else "is"
            raise AttackFailed(
                f"{name}: {who} made for {made_for}, but the client trains on {modality}. `gradaudit attacks` lists "
                f"the attacks on {modality}."
            )
    require_knowledge(name, parts_used(attack, granted), granted)


def require_knowledge(name: str, parts: tuple[Any, ...], granted: Knowledge) -> None:
    """Raise `MissingKnowledge` naming the first part, or the attack itself, that needs a fact outside `granted`."""
    for part in parts:
        if part.needs & ~granted:
            lacking = " and ".join((part.needs & ~granted).names)
            held = ", ".join(granted.names) or "nothing beyond the update"
            who = f"{part!r} needs" if isinstance(part, Part) else "needs"
            raise MissingKnowledge(
                f"{name}: {who} {lacking}, but the adversary knows only {held}. Add {lacking} to knowledge, "
                "or choose another attack."
            )


def parts_used(attack: Attack, granted: Knowledge) -> tuple[Any, ...]:
    """Return the parts that are used if the adversary knows `granted`; the attack itself if it has no parts."""
    used = getattr(attack, "used", None)
    return used(granted) if used else (attack,)


def _made_for(attack: Attack) -> Iterator[tuple[Any, Modality]]:
    """Yield the attack and those of its parts that are made for a single kind of data, with that kind."""
    for part in (attack, *getattr(attack, "parts", ())):
        modality = getattr(part, "modality", None)
        if modality is not None:
            yield part, modality
