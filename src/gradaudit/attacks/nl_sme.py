"""NL-SME (2025): SME on a curve instead of a segment."""

from dataclasses import replace

from ..inversion.parts.simulations.bezier import Bezier
from ..protocol.local_training import FedAvg
from ..values.types import Knowledge
from . import sme
from ._demonstration import Demonstration, shortened

ATTACK = replace(
    sme.ATTACK,
    name="nl-sme",
    paper="non-linear surrogate model extension, 2025",
    simulation=Bezier(alpha=0.5, rate=1e-3, control_rate=1e-2),
    deviations=(
        *sme.ATTACK.deviations,
        "published without code; the curve is a quadratic Bézier curve whose control point is optimised from the "
        "midpoint of the segment, at a learning rate of our choice, without a penalty on its distance",
        "the learnable rescaling of the observed direction is omitted, because it would change the objective that "
        "candidates are compared by",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200), facts=Knowledge.LABELS, training=FedAvg(learning_rate=1e-3))
