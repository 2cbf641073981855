"""SME (Zhu, Yao & Blaschko, ICML 2023): the update as a gradient somewhere between the model before and after."""

from ..inversion.parts.labels import KnownLabels
from ..inversion.parts.objectives import Cosine
from ..inversion.parts.optimisers import Adam
from ..inversion.parts.parametrisations import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors import TotalVariation
from ..inversion.parts.simulations import Segment
from ..inversion.run.gradient_matching import GradientMatching

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
        "returns the iterate with the lowest objective, total variation included",
        "the learning rate of the segment's point falls with that of the pictures, a thousandth of it throughout",
    ),
)
