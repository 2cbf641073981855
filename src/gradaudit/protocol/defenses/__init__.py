"""Defenses of a client, one file each: they change its model, its batch, its training or the update it shares."""

from ...values.discovery import Registry, subclasses_of
from ._defense import ActsOn, Defense, Doubt, Gradient, RoundWork, Scene, describe, in_comparing_order

DEFENSES: Registry[type[Defense]] = Registry(__name__, "gradaudit.defenses", subclasses_of(Defense))

__all__ = ["DEFENSES", "ActsOn", "Defense", "Doubt", "Gradient", "RoundWork", "Scene", "describe", "in_comparing_order"]

__getattr__ = DEFENSES.attribute
__dir__ = DEFENSES.attributes
