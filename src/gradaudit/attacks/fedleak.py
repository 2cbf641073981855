"""FedLeak (Fan et al., USENIX Security 2025): the largest entries of the update, with gradient regularisation."""

from dataclasses import replace

from ..inversion.parts.gradient_transforms.sign import Sign
from ..inversion.parts.labels.mean_counts import BiasCounts
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.objectives.top_entries import TopEntries
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.optimisers.regularised import Regularised
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ..values.types import Knowledge
from ._demonstration import Demonstration

ATTACK = GradientMatching(
    name="fedleak",
    paper="arXiv:2506.08435",
    objective=TopEntries(Cosine(), share=0.3),
    labels=BiasCounts(),
    stages=(
        Stage(
            Pixels(),
            Regularised(Adam(lr=0.1, milestones=(3 / 8, 5 / 8, 7 / 8)), rho=0.02, blend=0.5),
            steps=2_400,
            terms=(Term(TotalVariation(), weight=1e-1),),
            gradient=(Sign(),),
        ),
    ),
    deviations=(
        "the paper publishes neither the share of the entries nor the weights of the regularisation: share 0.3, rho "
        "0.02 and blend 0.5 are inferred; objective.share, stages.0.optimiser.rho and stages.0.optimiser.blend change "
        "them",
        "the largest entries are chosen in every tensor by itself and once; the paper's rule was not available",
        "the theorem of the paper is on the L1 distance; the cosine distance came closer here. TopEntries(L1()) is the "
        "other",
        "the optimiser, its schedule, the sign and total variation are those of Inverting Gradients, and 2 400 steps "
        "evaluate the objective as often as its 4 800; the sign is taken of both slopes before they are blended",
        "labels are inferred from the gradient of the last layer; the paper needs none",
        "returns the iterate with the lowest objective, total variation included",
    ),
)

# In a twentieth of the steps, at twice the learning rate and without the prior for natural images.
_QUICK = replace(ATTACK.stages[0], optimiser=Regularised(Adam(lr=0.2, cosine=True)), steps=60, terms=())
DEMONSTRATION = Demonstration(replace(ATTACK, stages=(_QUICK,)), network="smooth", facts=Knowledge.LABELS)
