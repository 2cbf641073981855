"""GIFD (Fang et al., ICCV 2023): search a generator's latent space, then the features behind each block in turn."""

from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.features import Features
from ..inversion.parts.parametrisations.latent import Latent
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.l2 import L2
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.generator_choice import with_generator
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened
from .gias import SMALL

TERMS = (Term(TotalVariation(), weight=1e-4), Term(L2(), weight=1e-6))
RADII = (1_000.0, 2_000.0, 3_000.0, 4_000.0, 5_000.0, 6_000.0)

ATTACK = GradientMatching(
    name="gifd",
    paper="arXiv:2308.04699",
    objective=Cosine(),
    labels=KnownLabels(),
    stages=(
        Stage(Latent(), Adam(lr=0.03), steps=1_000, terms=TERMS),
        *(
            Stage(Features(block=block, radius=radius), Adam(lr=0.1), steps=1_000, terms=TERMS)
            for block, radius in enumerate(RADII)
        ),
    ),
    restarts=4,
    deviations=(
        "the generator is a DCGAN of yours, not BigGAN or StyleGAN2; the radii are those of the first six blocks of "
        "StyleGAN2, whose first feature map also has 8 192 numbers: stages.1.parametrisation.radius and so on",
        "a generator with fewer blocks skips the last stages; one with more needs further stages",
        "every block begins at the best iterate of the one before, so that the last one has the lowest objective; the "
        "authors continue from the last iterate and return the block with the lowest",
        "the l2 norm of the images is a mean over their pixels, as everywhere here",
    ),
)

DEMONSTRATION = Demonstration(with_generator(shortened(ATTACK, 20, restarts=1), SMALL), size=8, least=6.0)
