"""What happens to a gradient before the optimiser sees it."""

from .clip import Clip
from .langevin import Langevin
from .noise import Noise
from .quantised_sign import QuantisedSign
from .sign import Sign

__all__ = ["Clip", "Langevin", "Noise", "QuantisedSign", "Sign"]
