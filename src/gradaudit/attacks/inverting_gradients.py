"""Inverting Gradients (Geiping, Bauermeister, Dröge & Moeller, NeurIPS 2020): cosine distance and total variation."""

from ..inversion.parts.gradient_transforms.sign import Sign
from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="inverting-gradients",
    paper="arXiv:2003.14053",
    objective=Cosine(),
    labels=KnownLabels(),
    stages=(
        Stage(
            Pixels(),
            Adam(lr=0.1, milestones=(3 / 8, 5 / 8, 7 / 8)),
            steps=4_800,
            terms=(Term(TotalVariation(), weight=1e-1),),
            gradient=(Sign(),),
        ),
    ),
    deviations=(
        "returns the iterate with the lowest objective, cosine distance and total variation together, where the "
        "authors' code returns the last",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200))
