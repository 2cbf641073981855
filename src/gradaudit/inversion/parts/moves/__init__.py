"""Moves: changes of the candidate without a gradient."""

from ....values.discovery import Registry, subclasses_of
from ..part import Move

MOVES: Registry[type[Move]] = Registry(__name__, "gradaudit.moves", subclasses_of(Move))

__getattr__ = MOVES.attribute
__dir__ = MOVES.attributes
