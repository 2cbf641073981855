"""Data Leakage in Federated Averaging (Dimitrov et al., TMLR 2022): every epoch unrolled on its own copies."""

from ..inversion.parts.labels import WeightCounts
from ..inversion.parts.objectives import MeanStep
from ..inversion.parts.optimisers import Adam
from ..inversion.parts.parametrisations import EpochCopies
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors import EpochOrder, TotalVariation
from ..inversion.parts.simulations import UnrolledCopies
from ..inversion.run.gradient_matching import GradientMatching

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
        "the weights are ours where distances are means: over pixels for total variation and for the epochs, in units "
        "of a mean gradient for the updates",
        "pixels are kept to the box, where the authors penalise what leaves it",
        "the learning rate is constant, where theirs falls by a fifth or less over the run",
        "returns the iterate with the lowest objective, the priors included",
    ),
)
