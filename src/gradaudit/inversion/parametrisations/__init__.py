"""What is optimised, and how it becomes inputs."""

from .coarse import Coarse
from .pixels import Pixels

__all__ = ["Coarse", "Pixels"]
