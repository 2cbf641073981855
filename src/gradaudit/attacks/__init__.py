"""The attacks of the literature, one file each; every one is a value."""

from typing import Any

from ..inversion import part_names
from ..inversion.attack import Attack
from ..values.discovery import Registry, values_called
from ._demonstration import Demonstration, shortened


def _name_of(value: Any) -> str | None:
    return value.name if isinstance(value, Attack) and not isinstance(value, type) else None


def _updates(attack: Attack) -> int:
    return getattr(attack, "updates", 1)


EVERY_ATTACK: Registry[Any] = Registry(__name__, "gradaudit.attacks", _name_of, values_called("ATTACK", "VARIANTS"))

ATTACKS: Registry[Attack] = EVERY_ATTACK.only(lambda attack: _updates(attack) == 1)

MULTI_MODAL: Registry[Any] = EVERY_ATTACK.only(lambda attack: _updates(attack) == 2)
"""Attacks on two updates of the same examples: they say `updates = 2` and take a tuple of observations."""


def constructors() -> dict[str, type]:
    """Return by name all that the `repr` of an attack may hold: it evaluates to the attack again."""
    return part_names(type(attack) for attack in EVERY_ATTACK.values())


def demonstration_of(name: str) -> Demonstration | None:
    """Return the small case that an attack solves: `DEMONSTRATION` in its module, or that one of several there."""
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
]
