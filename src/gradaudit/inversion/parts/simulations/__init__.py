"""What the adversary assumes of a client's local training: how a guess becomes an update."""

from .as_gradient import AsGradient
from .bezier import Bezier
from .segment import Segment
from .unrolled import Unrolled
from .unrolled_copies import UnrolledCopies

__all__ = ["AsGradient", "Bezier", "Segment", "Unrolled", "UnrolledCopies"]
