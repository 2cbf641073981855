"""GIAS (Jeon, Kim, Lee, Oh & Ok, NeurIPS 2021): search a generator's latent space, then its weights for each image."""

from dataclasses import replace

from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.generator_weights import GeneratorWeights
from ..inversion.parts.parametrisations.latent import Latent
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.generator_choice import with_generator
from ..inversion.run.gradient_matching import GradientMatching
from ..models.generators.dcgan import DCGAN
from ..models.generators.untrained import Untrained
from ._demonstration import Demonstration

DECAY = (3 / 8, 5 / 8, 7 / 8)
SMOOTH = (Term(TotalVariation(), weight=1e-6),)

ATTACK = GradientMatching(
    name="gias",
    paper="arXiv:2110.14962",
    objective=Cosine(),
    labels=KnownLabels(),
    stages=(
        Stage(Latent(), Adam(lr=0.1, milestones=DECAY), steps=500, terms=SMOOTH),
        Stage(GeneratorWeights(), Adam(lr=1e-3, milestones=DECAY), steps=5_000, terms=SMOOTH),
    ),
    restarts=4,
    deviations=(
        "steps and learning rates are those of the authors' code for a DCGAN and images of 32 px; for 128 px they take "
        "1 000 and 8 000 steps, and 3e-2 for the latent vectors of a StyleGAN2",
        "each restart runs both stages, and the weights begin at the best latent vectors of their restart",
        "returns the iterate with the lowest objective, cosine distance and total variation together, where the "
        "authors' code returns the last",
        "GIML, which learns a generator from the gradients of many rounds, is left out",
        "the generator is a file of yours (`gradaudit train generator`); the one that is named by default makes grey "
        "images of clothes of 28 px",
    ),
)

SMALL = Untrained(DCGAN(channels=1, size=8, latent=8, width=4))
_LATENT, _WEIGHTS = ATTACK.stages
_SHORT = replace(ATTACK, stages=(replace(_LATENT, steps=80, terms=()), replace(_WEIGHTS, steps=5, terms=())))
DEMONSTRATION = Demonstration(with_generator(replace(_SHORT, restarts=1), SMALL), size=8, least=8.0)
