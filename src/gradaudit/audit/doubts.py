"""What the notes of a finding say about defenses: which make the result unreliable and why, and what they guarantee.

The objective of an attack is its only guide. A defense that the attack does not simulate moves the lowest objective
away from the private examples, so that "nothing was recovered" may say more about the attack than about the defense.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..client.calibrated_noise import SEEN, UNCOUNTED, seen_beside
from ..client.participant import Client
from ..inversion.attack import Attack
from ..inversion.parts.objectives.chord import Chord
from ..inversion.parts.objectives.cosine import Cosine, LayerwiseCosine
from ..inversion.parts.objectives.weighted_cosine import WeightedCosine
from ..protocol.defenses import Defense, Doubt, RoundWork
from ..values.types import Knowledge

DIRECTIONS = (Cosine, LayerwiseCosine, WeightedCosine, Chord)
"""Objectives that compare directions alone, so that clipping the whole update does not change them."""


def doubts(attack: Attack, defenses: Sequence[Defense], granted: Knowledge) -> tuple[str, ...]:
    """Return one sentence for each defense that makes the result of the attack unreliable.

    Args:
        attack: The attack.
        defenses: The defenses of the client that changed the update.
        granted: What the adversary knows.
    """
    found = []
    for defense in defenses:
        doubt = defense.doubt
        if (doubt.simulated or _own(attack)) and Knowledge.DEFENSE in granted:
            continue
        text = _text(attack, doubt)
        if text:
            found.append(f"Unreliable under {defense.name}: {text}.")
    return tuple(dict.fromkeys(found))


def remarks(client: Client, examples: int) -> tuple[str, ...]:
    """Return what the client's defenses say about one round: what they guarantee, and what they changed.

    Args:
        client: The client; of several clients the one with the most examples is meant.
        examples: Number of its examples, 0 if it is unknown.
    """
    count = _most_examples(client, examples) or 1
    size = min(client.training.minibatch_size or count, count)
    work = RoundWork(client.model, client.training.steps(count), size, client.rounds)
    uncounted = UNCOUNTED if steps_of(client, examples) is None else ""
    found: list[str] = []
    for place, defense in enumerate(client.defenses):
        obstacle = SEEN if seen_beside(client.defenses, place) else uncounted
        found.extend(defense.remarks(replace(work, obstacle=obstacle)))
    return tuple(found)


def steps_of(client: Client, examples: int) -> int | None:
    """Return the number of local steps of the client with the most examples, or `None` if it is unknown.

    Args:
        client: The client.
        examples: Number of its examples, 0 if it is unknown.
    """
    training, count = client.training, _most_examples(client, examples)
    if count or training.minibatch_size is None:
        return training.steps(count or 1)
    return None


def _most_examples(client: Client, examples: int) -> int:
    """Return the number of examples of the client with the most, 0 if it is unknown."""
    return max(getattr(client, "sizes", ()) or (examples or getattr(client, "size", None) or 0,))


def _own(attack: Attack) -> str:
    """Return the attack's own sentence on defenses that it does not know, if it takes all others into account."""
    return str(getattr(attack, "doubt", ""))


def _text(attack: Attack, doubt: Doubt) -> str:
    if _own(attack):
        return _own(attack)
    objective: Any = getattr(attack, "objective", None) or getattr(getattr(attack, "attack", None), "objective", None)
    if objective is None:
        return doubt.closed_form
    return doubt.matching if doubt.direction or not isinstance(objective, DIRECTIONS) else ""
