"""What happens to a gradient before the optimiser sees it."""

from .clip import Clip
from .noise import Noise
from .sign import Sign

__all__ = ["Clip", "Noise", "Sign"]
