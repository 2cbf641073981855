"""Inverting Gradients (Geiping, Bauermeister, Dröge & Moeller, NeurIPS 2020): cosine distance and total variation."""

from ..inversion.attack import Stage, Term
from ..inversion.gradient_transforms import Sign
from ..inversion.labels import KnownLabels
from ..inversion.match import GradientMatching
from ..inversion.objectives import Cosine
from ..inversion.optimisers import Adam
from ..inversion.parametrisations import Pixels
from ..inversion.priors import TotalVariation

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
