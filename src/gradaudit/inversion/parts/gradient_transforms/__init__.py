"""What happens to a gradient before the optimiser sees it."""

from .add_noise import Noise
from .clip_gradient import ClipGradient
from .langevin import Langevin
from .quantised_sign import QuantisedSign
from .sign import Sign

__all__ = ["ClipGradient", "Langevin", "Noise", "QuantisedSign", "Sign"]
