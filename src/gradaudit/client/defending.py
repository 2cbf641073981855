"""Where a client's defenses act: on its model, its batch, the gradient of each local step, and the update it shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import torch
from torch import nn

from ..protocol.defenses import ActsOn, Defense, Scene
from ..protocol.defenses._acting import acting_on
from ..values.chance import seeded
from ..values.errors import AuditError
from ..values.types import Update
from .defense_effect import Note, unnoted

Memories = dict[int | str, dict[Any, Any]]
"""What the defenses of a client remember from one round to the next, by their position; of several clients, by name."""


def changed_model(defenses: Sequence[Defense], model: nn.Module) -> nn.Module:
    """Return the model with the changes of all defenses of the model.

    Raises:
        AuditError: A defense does not fit the model, or one that changes the model is named twice.
    """
    names = [defense.name for defense in acting_on(defenses, ActsOn.MODEL)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise AuditError(f"defenses: {twice} changes the model and is named twice. Name it once.")
    return reduce(lambda changed, defense: defense.change_model(changed), defenses, model)


def defended(
    defenses: Sequence[Defense],
    update: Update,
    scene: Scene,
    seed: int,
    memories: Memories | None = None,
    note: Note = unnoted,
) -> tuple[Update, tuple[Defense, ...]]:
    """Return the update after all defenses of the update, and those that did not change it (`without_effect`).

    Args:
        defenses: All defenses of the client.
        update: The update after local training.
        scene: What the client knows; every defense gets it with its own memory.
        seed: Seed of the random numbers.
        memories: What the defenses remember of earlier rounds; it is written into.
        note: Called after each defense with its position, itself, and the update before and after it.
    """
    idle: list[Defense] = []
    kept = {} if memories is None else memories
    with seeded(seed, next(iter(update.values)).device if update.values else torch.device("cpu")):
        for place, defense in enumerate(defenses):
            if defense.acts_on is not ActsOn.UPDATE:
                continue
            own = replace(scene, memory=kept.setdefault(place, {}))
            before, update = update, defense.apply(update, own)
            note(place, defense, before, update)
            if same(before, update):
                idle.append(defense)
    return update, without_effect(acting_on(defenses, ActsOn.UPDATE), idle)


def without_effect(acting: Sequence[Defense], idle: Sequence[Defense]) -> tuple[Defense, ...]:
    """Return each defense of `idle` whose equals in `acting` all are in `idle`.

    Of two equal defenses the second often changes nothing. The client without both would share another update.
    """
    found: list[Defense] = []
    for one in idle:
        if one not in found and idle.count(one) == acting.count(one):
            found.append(one)
    return tuple(found)


def same(one: Update, other: Update) -> bool:
    """Return whether two updates hold the same tensors, bit for bit."""
    return len(one.values) == len(other.values) and all(map(torch.equal, one.values, other.values))
