"""Steps that no gradient takes."""

from .langevin_step import LangevinStep
from .token_edits import RandomStart, TokenEdits
from .trigram import Trigram

__all__ = ["LangevinStep", "RandomStart", "TokenEdits", "Trigram"]
