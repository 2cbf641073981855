"""Attacks beside their adaptive twins: where DEFENSE is granted, every attack runs without and with that knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..client.participant import Client
from ..inversion.attack import Attack
from ..inversion.run.adaptive import Adaptive
from ..values.types import Knowledge

T = TypeVar("T")


def is_adaptive(attack: Attack) -> bool:
    """Return whether an attack uses what the adversary knows of the client's defenses."""
    return Knowledge.DEFENSE in attack.needs


def facts_for(attack: Attack, client: Client, granted: Knowledge) -> Knowledge:
    """Return what an attack is given of the granted facts: the defenses only if it is adaptive."""
    return granted & ~Knowledge.DEFENSE if client.defenses and not is_adaptive(attack) else granted


def with_twins(
    attacks: Sequence[tuple[str, Attack]], origins: Sequence[T], client: Client, granted: Knowledge
) -> tuple[tuple[tuple[str, Attack], ...], tuple[T, ...]]:
    """Return the attacks, each followed by its adaptive twin if the client has defenses and DEFENSE is granted.

    Args:
        attacks: Name and attack.
        origins: Where each attack comes from; its twin comes from the same place.
        client: The client under audit.
        granted: What the adversary knows.
    """
    twins = bool(client.defenses) and Knowledge.DEFENSE in granted
    found: list[tuple[tuple[str, Attack], T]] = []
    for (name, attack), origin in zip(attacks, origins, strict=True):
        found.append(((name, attack), origin))
        if twins and not is_adaptive(attack):
            found.append(((f"{name} (adaptive)", Adaptive(attack)), origin))
    return tuple(pair for pair, _ in found), tuple(origin for _, origin in found)
