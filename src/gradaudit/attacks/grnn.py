"""GRNN (Ren, Deng & Xie, ACM TIST 2022): train a generator of pictures and labels until the gradients agree."""

from ..inversion.attack import Stage, Term
from ..inversion.labelled import LabelledMatching
from ..inversion.objectives import SquaredPlusPlain
from ..inversion.optimisers import RMSprop
from ..inversion.parametrisations import GRNNGenerator
from ..inversion.priors import SquaredTotalVariation

ATTACK = LabelledMatching(
    name="grnn",
    paper="doi:10.1145/3510032",
    objective=SquaredPlusPlain(),
    stages=(
        Stage(
            GRNNGenerator(),
            RMSprop(lr=1e-4, momentum=0.99),
            steps=1_000,
            terms=(Term(SquaredTotalVariation(), weight=1e-3),),
        ),
    ),
    deviations=(
        "returns the iterate with the lowest objective, its priors included, where the authors' code returns the last",
        "the weight of the total variation is that of LeNet; for ResNet-18 the authors take 1e-6",
    ),
)
