"""What is optimised, and how it becomes inputs."""

from .pixels import Pixels

__all__ = ["Pixels"]
