"""Data Leakage in Federated Averaging (Dimitrov et al., TMLR 2022): unroll every epoch on its own copies."""

from ..inversion.parts.labels.mean_counts import WeightCounts
from ..inversion.parts.objectives.mean_step import MeanStep
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.epoch_copies import EpochCopies
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.epoch_order import EpochOrder
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.parts.simulations.unrolled_copies import UnrolledCopies
from ..inversion.run.gradient_matching import GradientMatching
from ..protocol.local_training import FedAvg
from ..values.types import Knowledge
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="dlfa",
    paper="arXiv:2206.12395",
    objective=MeanStep(decay=1.0, first=1.0, last=2.0),
    labels=WeightCounts(),
    simulation=UnrolledCopies(),
    stages=(
        Stage(
            EpochCopies(),
            Adam(lr=0.1),
            steps=400,
            terms=(Term(TotalVariation(), weight=1e-3), Term(EpochOrder(), weight=1.0)),
        ),
    ),
    deviations=(
        "the weights are our choice because distances are means: over pixels for total variation and for the epochs, "
        "in units of a mean gradient for the updates",
        "pixels are clamped to the box, where the authors penalise values outside it",
        "the learning rate is constant, where theirs falls by a fifth or less over the run",
        "returns the iterate with the lowest objective, including the priors",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200), facts=Knowledge.LABELS, training=FedAvg(learning_rate=1e-3))
