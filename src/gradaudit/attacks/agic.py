"""AGIC (Xu et al., SRDS 2022): treat the update as one gradient, with larger weights for deeper layers, over rounds."""

from ..inversion.parts.gradient_transforms.sign import Sign
from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.per_round import PerRound
from ..inversion.parts.objectives.weighted_cosine import WeightedCosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.parts.simulations.as_gradient import AsGradient
from ..inversion.run.gradient_matching import GradientMatching
from ..protocol.local_training import FedAvg
from ..values.types import Knowledge
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="agic",
    paper="arXiv:2204.13784",
    objective=PerRound(WeightedCosine(last=10.0)),
    labels=KnownLabels(),
    simulation=AsGradient(),
    stages=(
        Stage(
            Pixels(),
            Adam(lr=0.1, milestones=(3 / 8, 5 / 8, 7 / 8)),
            steps=4_800,
            terms=(Term(TotalVariation(), weight=1e-2),),
            gradient=(Sign(),),
        ),
    ),
    deviations=(
        "the paper publishes the single gradient over all examples, that updates of several rounds are matched "
        "together and that the layers' weights increase along the network; the weights are our choice: linearly from "
        "1 to 10",
        "several rounds are joined into one observation by gradaudit.inversion.parts.objectives._rounds.joined; an "
        "audit file attacks each round separately",
        "the loop is that of Inverting Gradients with total variation at 1e-2",
        "returns the iterate with the lowest objective, including total variation",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200), facts=Knowledge.LABELS, training=FedAvg(learning_rate=1e-3))
