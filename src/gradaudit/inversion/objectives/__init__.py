"""How a candidate's update is compared with the observed one."""

from .chord import Chord
from .cosine import Cosine, LayerwiseCosine
from .euclidean import Euclidean
from .l1 import L1

__all__ = ["L1", "Chord", "Cosine", "Euclidean", "LayerwiseCosine"]
