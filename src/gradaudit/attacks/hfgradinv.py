"""HFGradInv (Ye, Luo, Zhou & Tang, AAAI 2024): gradients from deep to shallow, then total variation, then BatchNorm."""

from ..inversion.parts.gradient_transforms.quantised_sign import QuantisedSign
from ..inversion.parts.labels.minimum_variation import MinimumVariation
from ..inversion.parts.objectives.growing import Growing
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.batch_norm_statistics import BatchNormStatistics
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ..values.types import Knowledge
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="hfgradinv",
    paper="doi:10.1609/aaai.v38i18.29975",
    objective=Growing(dropout=0.3),
    labels=MinimumVariation(),
    stages=(
        Stage(
            Pixels(),
            Adam(lr=0.1, milestones=(3 / 8, 5 / 8, 7 / 8), factor=0.33),
            steps=15_000,
            terms=(
                Term(TotalVariation(), weight=5e-3, start=1 / 5),
                Term(BatchNormStatistics(multipliers=(1.3, 3.0)), weight=1e-4, start=1 / 3),
            ),
            gradient=(QuantisedSign(),),
        ),
    ),
    deviations=(
        "total variation is that of the code, the mean of |dx| + |dy| with weight 5e-3, but without its zero padding "
        "at the border; the paper writes the squared isotropic one with 0.01: replace stages.0.terms.0",
        "the first two BatchNorm layers count 1.3 and 3 times as in the code; the paper has no such factors: "
        "stages.0.terms.1.prior.multipliers=()",
        "the pixels' gradient is rounded to five levels and doubled over the first 101 of 15 000 steps as in the code; "
        "the paper uses its sign: stages.0.gradient=(Sign(),)",
        "ten tensors are introduced at a time as in the code; the paper describes whole blocks, one after another: "
        "objective.timetable and objective.every",
        "the learning rate is multiplied by 0.33 at 3/8, 5/8 and 7/8 of the steps; in the code these points are "
        "rounded down by up to 9 of 15 000 steps, and alternatives in its comments add one at 1/6.5 or have only one "
        "at 1/3: stages.0.optimiser.milestones",
        "returns the iterate with the lowest objective, where the code returns the last; the objective is the cosine "
        "distance over all tensors of the last timetable entry, without dropout, plus the priors",
        "timetables are given for torchvision's ResNet-18, -34 and -50; only that of ResNet-34 is the authors', and "
        "that of any other network is derived from its number of tensors: objective.timetable",
        "BatchNorm statistics are omitted if the network has none or still has the initial ones",
        "weights are those for 224 px; at 32 px the cosine outweighs total variation, and stages.0.terms.0.weight=0.1 "
        "gives better images",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200), facts=Knowledge.LABELS)
