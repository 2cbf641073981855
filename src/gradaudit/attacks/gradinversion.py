"""GradInversion (Yin et al., CVPR 2021): batches of images, by several seeds that must agree."""

from ..inversion.parts.labels.column_minimum import ColumnMinimum
from ..inversion.parts.moves.langevin_step import LangevinStep
from ..inversion.parts.objectives.layerwise_euclidean import LayerwiseEuclidean
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.batch_norm_statistics import BatchNormStatistics
from ..inversion.parts.priors.group_consistency import GroupConsistency
from ..inversion.parts.priors.l2 import L2
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

STEPS = 20_000

ATTACK = GradientMatching(
    name="gradinversion",
    paper="arXiv:2104.07586",
    objective=LayerwiseEuclidean(scale=1e-3),
    labels=ColumnMinimum(strict=False),
    stages=(
        Stage(
            Pixels(),
            Adam(lr=0.1, warm_up=50 / STEPS, cosine=True),
            steps=STEPS,
            terms=(
                Term(TotalVariation(), weight=1e-4),
                Term(L2(), weight=1e-6),
                Term(BatchNormStatistics(), weight=1e-3),
                Term(GroupConsistency(), weight=0.01, start=0.05, stop=0.25),
                Term(GroupConsistency(registered=True, every=200), weight=0.01, start=0.25),
            ),
            moves=(LangevinStep(scale=0.2),),
        ),
    ),
    seeds=8,
    deviations=(
        "the authors published no code, and the weights are as others report them: 1e-3 on the gradients, 1e-4 total "
        "variation, 1e-6 norm, 0.01 group consistency; breaching uses 1e-4 on the gradients",
        "distances per tensor are not squared; replace(ATTACK.objective, squared=True) or objective.squared=true "
        "squares them",
        "total variation, norm and group consistency are means over pixels, the norm is squared",
        "BatchNorm statistics are the model's public running ones at a weight of 1e-3; in the paper the client sends "
        "those of its batch, at 0.1: stages.0.terms.2.prior.source=client and stages.0.terms.2.weight=0.1. At 0.1 the "
        "running ones dominate the gradients of a small batch",
        "seeds are registered to their mean by cross-correlation and TV-L1 flow, where the paper uses RANSAC-Flow; if "
        "the network distinguishes positions, as behind a flattened layer, the plain mean alone did better",
        "the seeds are pulled to their mean from 1/20 and to the registered mean from 1/4 of the steps, renewed every "
        "200 steps; the paper's times are not known",
        "Langevin noise of 0.2 of the learning rate is added to Adam's step; breaching adds 0.01 of the rate to the "
        "gradient before Adam instead (gradient=(Langevin(0.01),), moves=()), where it dominates small gradients",
        "returns the iterate with the lowest objective of all seeds, including the priors, of the part of the run in "
        "which the registered mean acts",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200, seeds=1))
