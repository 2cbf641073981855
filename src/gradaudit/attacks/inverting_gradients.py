"""Inverting Gradients (Geiping, Bauermeister, Dröge & Moeller, NeurIPS 2020): cosine distance and total variation."""

from ..inversion.parts.gradient_transforms import Sign
from ..inversion.parts.labels import KnownLabels
from ..inversion.parts.objectives import Cosine
from ..inversion.parts.optimisers import Adam
from ..inversion.parts.parametrisations import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching

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
