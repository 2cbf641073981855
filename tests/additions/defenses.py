"""Rounding of the update."""

from dataclasses import dataclass
from typing import ClassVar

from gradaudit.protocol.defenses import Defense


@dataclass(frozen=True)
class Rounding(Defense):
    """Rounds every entry to a grid.

    Args:
        grid: Distance of the values that are left.
    """

    paper: ClassVar[str] = "arXiv:1610.02132"
    grid: float = 1e-3

    def protect(self, tensors):
        """Return the rounded tensors."""
        return tuple((tensor / self.grid).round() * self.grid for tensor in tensors)
