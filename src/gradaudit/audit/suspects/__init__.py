"""The usual causes of an update that the declared training does not give, each tried by running the client again."""

from .assumed import Assumed, Cause, Suspect
from .label_order import LABELS
from .local_work import BATCH_NORM, DROPOUT, MOMENTUM, STEPS, WEIGHT_DECAY
from .preprocessing import CHANNELS, NORMALISATION
from .scaling import RATE, REDUCTION, SIGN, WEIGHT
from .shared_tensors import FROZEN

CAUSES: tuple[Cause, ...] = (
    SIGN,
    BATCH_NORM,
    FROZEN,
    REDUCTION,
    RATE,
    WEIGHT,
    STEPS,
    NORMALISATION,
    CHANNELS,
    LABELS,
    MOMENTUM,
    WEIGHT_DECAY,
    DROPOUT,
)
"""All causes. Of two that explain an update equally well, the earlier one is named; it has fewer fitted numbers."""

__all__ = ["CAUSES", "Assumed", "Cause", "Suspect"]
