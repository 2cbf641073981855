"""Defenses that a client applies to its update before sharing it, one file each."""

from ...values.discovery import Registry, subclasses_of
from ._defense import Defense, describe

DEFENSES: Registry[type[Defense]] = Registry(__name__, "gradaudit.defenses", subclasses_of(Defense))

__all__ = ["DEFENSES", "Defense", "describe"]

__getattr__ = DEFENSES.attribute
__dir__ = DEFENSES.attributes
