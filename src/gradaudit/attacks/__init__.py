"""The attacks of the literature, one file each; every attack is a value."""

from typing import Any

from ..inversion import part_names
from ..inversion.attack import Attack
from ..inversion.run.adaptive import Adaptive
from ..inversion.run.generator_choice import with_generator
from ..models.generators import GENERATORS
from ..protocol.defenses import DEFENSES
from ..values.discovery import Registry, values_called
from ._demonstration import Demonstration, shortened


def _name_of(value: Any) -> str | None:
    return value.name if isinstance(value, Attack) and not isinstance(value, type) else None


def _updates(attack: Attack) -> int:
    return getattr(attack, "updates", 1)


EVERY_ATTACK: Registry[Any] = Registry(__name__, "gradaudit.attacks", _name_of, values_called("ATTACK", "VARIANTS"))
"""All attacks, by name."""

ATTACKS: Registry[Attack] = EVERY_ATTACK.only(lambda attack: _updates(attack) == 1)
"""The attacks on a single update, by name."""

MULTI_MODAL: Registry[Any] = EVERY_ATTACK.only(lambda attack: _updates(attack) == 2)
"""Attacks on two updates of the same examples, by name.

They have the attribute `updates = 2` and are called with a tuple of observations.
"""


def constructors() -> dict[str, type]:
    """Return the constructors that the `repr` of an attack may contain, by name.

    Evaluating the `repr` with them returns the attack again.
    """
    defenses = {kind.__name__: kind for kind in DEFENSES.values()}
    kinds: tuple[type, ...] = (Adaptive, *GENERATORS.values(), *(type(attack) for attack in EVERY_ATTACK.values()))
    return part_names(kinds) | defenses


def demonstration_of(name: str) -> Demonstration | None:
    """Return the small case that an attack solves, from `DEMONSTRATION` in its module; `None` if there is none."""
    offered = values_called("DEMONSTRATION")(EVERY_ATTACK.home(name))
    return next((case for case in offered if case.attack.name == name), None)


def __getattr__(name: str) -> Attack:
    """Return an attack by its name in capitals, such as `DLG`; `gradaudit.attacks.dlg.ATTACK` has its exact type."""
    attack: Attack = EVERY_ATTACK.attribute(name)
    return attack


__dir__ = EVERY_ATTACK.attributes

__all__ = [
    "ATTACKS",
    "EVERY_ATTACK",
    "MULTI_MODAL",
    "Demonstration",
    "constructors",
    "demonstration_of",
    "shortened",
    "with_generator",
]
