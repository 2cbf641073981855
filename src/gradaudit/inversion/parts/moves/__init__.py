"""Steps that no gradient takes."""

from ._trigram import Trigram
from .langevin_step import LangevinStep
from .token_edits import RandomStart, TokenEdits

__all__ = ["LangevinStep", "RandomStart", "TokenEdits", "Trigram"]
