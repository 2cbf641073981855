"""The building blocks of gradient inversion attacks and the loop that runs them.

Nothing in this package can see private data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from ..values.discovery import Registry
from .parts.denoisers import DENOISERS
from .parts.gradient_transforms import GRADIENT_TRANSFORMS
from .parts.labels import LABELS
from .parts.moves import MOVES
from .parts.objectives import OBJECTIVES
from .parts.optimisers import OPTIMISERS
from .parts.parametrisations import PARAMETRISATIONS
from .parts.pools import POOLS
from .parts.priors import PRIORS
from .parts.simulations import SIMULATIONS

FAMILIES: tuple[Registry[type], ...] = (
    OBJECTIVES,
    PRIORS,
    PARAMETRISATIONS,
    LABELS,
    GRADIENT_TRANSFORMS,
    MOVES,
    POOLS,
    SIMULATIONS,
    OPTIMISERS,
    DENOISERS,
)
"""The registries of all parts, one for each kind of part."""


def part_names(attacks: Iterable[type] = ()) -> dict[str, type]:
    """Return the constructors that the `repr` of a part may contain, by name, so that evaluating it returns the part.

    These are all registered parts, the `attacks`, and every dataclass that their fields may contain, such as `Stage`.

    Args:
        attacks: Classes of attacks, whose `repr` may contain further dataclasses.
    """
    found: dict[str, type] = {}
    given = [*attacks, *(part for family in FAMILIES for part in family.values())]
    waiting = list(given)
    while waiting:
        kind = waiting.pop()
        if found.setdefault(kind.__name__, kind) is kind:
            waiting += [held for hint in _fields(kind) for held in _dataclasses(hint) if held.__name__ not in found]
    bases = {base for kind in found.values() for base in kind.__mro__[1:]}  # such as Objective, which is no part itself
    return {name: kind for name, kind in sorted(found.items()) if kind in given or kind not in bases}


@cache
def _fields(kind: type) -> list[Any]:
    """Return the types of the fields of a dataclass."""
    hints = get_type_hints(kind)
    return [hints[name] for name in getattr(kind, "__match_args__", ())]


def _dataclasses(hint: Any) -> Iterable[type]:
    """Return the dataclasses within a type such as `tuple[Stage, ...]` or `Distillation | None`."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from _dataclasses(inner)
