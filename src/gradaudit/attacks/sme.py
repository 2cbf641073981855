"""SME (Zhu, Yao & Blaschko, ICML 2023): the update as a gradient at a point between the model before and after."""

from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.parts.simulations.segment import Segment
from ..inversion.run.gradient_matching import GradientMatching
from ..protocol.local_training import FedAvg
from ..values.types import Knowledge
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="sme",
    paper="arXiv:2306.00127",
    objective=Cosine(),
    labels=KnownLabels(),
    simulation=Segment(alpha=0.5, rate=1e-3),
    stages=(
        Stage(
            Pixels(),
            Adam(lr=1.0, milestones=(3 / 8, 5 / 8, 7 / 8)),
            steps=1_000,
            terms=(Term(TotalVariation(), weight=0.01),),
        ),
    ),
    deviations=(
        "returns the iterate with the lowest objective, including total variation",
        "the learning rate of the segment's point is a thousandth of that of the images, and falls with it",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200), facts=Knowledge.LABELS, training=FedAvg(learning_rate=1e-3))
