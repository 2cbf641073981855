"""LAMP (Balunović, Dimitrov, Jovanović & Vechev, NeurIPS 2022): continuous steps, and reorderings that read well."""

from dataclasses import replace

from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.moves.token_edits import RandomStart, TokenEdits
from ..inversion.parts.objectives.cosine import LayerwiseCosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.token_embeddings import TokenEmbeddings
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.embedding_length import EmbeddingLength
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration

_DECAY = tuple(k / 40 for k in range(1, 40))  # every 50 of 2 000 steps
_EMBEDDINGS = TokenEmbeddings(length="start")

ATTACK = GradientMatching(
    name="lamp",
    paper="arXiv:2202.08827",
    objective=LayerwiseCosine(floor=1e-7),
    labels=KnownLabels(),
    stages=(
        Stage(_EMBEDDINGS, Adam(lr=0.01), steps=1, moves=(RandomStart(500, 500),)),
        Stage(
            _EMBEDDINGS,
            Adam(lr=0.01, milestones=_DECAY, factor=0.89),
            steps=2_000,
            terms=(Term(EmbeddingLength(), weight=1.0),),
            moves=(TokenEdits(tries=200, every=75, burn_in=0.1, weight=0.2),),
        ),
    ),
    deviations=(
        "tensors that contain only rounding errors (the key biases) do not count, where the authors' code counts them",
        "the language model is an interpolated trigram model of the public texts, where the paper uses GPT-2",
        "the embeddings' L2 norm is the mean over the model's own table, where the paper uses BERT's 1.4",
        "returns the iterate with the lowest objective, where the authors' code returns the last",
    ),
)

DEMONSTRATION = Demonstration(
    replace(
        ATTACK,
        stages=(
            replace(ATTACK.stages[0], moves=(RandomStart(20, 20),)),
            replace(
                ATTACK.stages[1], optimiser=Adam(lr=0.02), steps=60, moves=(TokenEdits(tries=40, every=40, weight=0.2),)
            ),
        ),
    ),
    network="flat-text",
    least=0.7,
)
