"""GGL (Li et al., CVPR 2022): search the latent space of a conditional generator, by CMA-ES without a gradient."""

from dataclasses import replace

from ..inversion.parts.labels.label_of_one import IDLG
from ..inversion.parts.objectives.mean_euclidean import MeanEuclidean
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.optimisers.cma_es import CmaEs
from ..inversion.parts.parametrisations.latent import Latent
from ..inversion.parts.part import Stage
from ..inversion.run.generator_choice import with_generator
from ..inversion.run.gradient_matching import GradientMatching
from ..models.generators.dcgan import DCGAN
from ..models.generators.trained_generator import Generator
from ..models.generators.untrained import Untrained
from ._demonstration import Demonstration, shortened
from .gias import SMALL

CONDITIONAL = Generator("fashion-cdcgan")

ATTACK = GradientMatching(
    name="ggl",
    paper="arXiv:2203.15696",
    objective=MeanEuclidean(),
    labels=IDLG(),
    stages=(Stage(Latent(CONDITIONAL, bounded=True), CmaEs(population=50), steps=500),),
    deviations=(
        "for one example as in the paper; more are searched jointly if LABELS is granted, which takes many more steps",
        "the authors estimate the client's defense and apply it to the candidate; here the attack does so in its "
        "adaptive form, with the defenses that DEFENSE grants",
        "the label follows from the bias, or from the rows of the last layer, as in iDLG; the authors take the lowest "
        "sum of a row",
        "above 128 variables the covariance is diagonal: stages.0.optimiser.full",
        "the first mean is drawn from N(0, 1), and sigma0 is 1: neither is published",
        "the generator is a file of yours (`gradaudit train generator`), not BigGAN; the one that is named by default "
        "makes grey images of clothes of 28 px",
    ),
)

VARIANTS = (
    replace(
        ATTACK,
        name="ggl-adam",
        stages=(Stage(Latent(CONDITIONAL, kld=0.1), Adam(lr=0.1), steps=2_500),),
        deviations=(*ATTACK.deviations[:3], ATTACK.deviations[-1]),
    ),
)

TINY = Untrained(DCGAN(channels=1, size=8, latent=3, width=4))
_FEW = replace(ATTACK, stages=(replace(ATTACK.stages[0], optimiser=CmaEs(population=8)),))
DEMONSTRATION = (
    Demonstration(with_generator(shortened(_FEW, 14), TINY), size=8, least=5.0),
    Demonstration(with_generator(shortened(VARIANTS[0], 40), SMALL), size=8, least=8.0),
)
