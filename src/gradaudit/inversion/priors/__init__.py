"""What is known of natural inputs before any update is seen."""

from .l2 import L2
from .total_variation import TotalVariation

PRIORS: dict[str, type] = {"total-variation": TotalVariation, "l2": L2}

__all__ = ["L2", "PRIORS", "TotalVariation"]
