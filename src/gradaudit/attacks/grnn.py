"""GRNN (Ren, Deng & Xie, ACM TIST 2022): train a generator of images and labels until the gradients match."""

from ..inversion.parts.labels.joint import JointLabels
from ..inversion.parts.objectives.squared_plus_plain import SquaredPlusPlain
from ..inversion.parts.optimisers.rmsprop import RMSprop
from ..inversion.parts.parametrisations.grnn_generator import GRNNGenerator
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.squared_total_variation import SquaredTotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="grnn",
    paper="doi:10.1145/3510032",
    objective=SquaredPlusPlain(),
    labels=JointLabels(),
    stages=(
        Stage(
            GRNNGenerator(),
            RMSprop(lr=1e-4, momentum=0.99),
            steps=1_000,
            terms=(Term(SquaredTotalVariation(), weight=1e-3),),
        ),
    ),
    deviations=(
        "returns the iterate with the lowest objective, including its prior, where the authors' code returns the last",
        "the weight of the total variation is that of LeNet; for ResNet-18 the authors use 1e-6",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 400), least=10.0)
