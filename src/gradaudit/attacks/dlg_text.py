"""DLG on text (Zhu et al., 2019, section 4.3): match the gradient with free embeddings, then choose nearest tokens."""

from dataclasses import replace

from ..inversion.parts.labels.joint import JointLabels
from ..inversion.parts.objectives.euclidean import Euclidean
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.token_embeddings import TokenEmbeddings
from ..inversion.parts.part import Stage
from ..inversion.run.gradient_matching import GradientMatching
from ..values.types import Knowledge
from ._demonstration import Demonstration

ATTACK = GradientMatching(
    name="dlg-text",
    paper="arXiv:1906.08935",
    objective=Euclidean(),
    labels=JointLabels(),
    stages=(Stage(TokenEmbeddings(), Adam(lr=0.1), steps=2_500),),
    deviations=(
        "Adam with the settings of LAMP's comparison, where the paper uses L-BFGS, which stalls on transformers",
        "the opening and closing tokens of a text and its padding are known, as in LAMP's comparison",
        "returns the iterate with the lowest gradient distance",
    ),
)

SHORT = replace(ATTACK, stages=(Stage(TokenEmbeddings(length="start"), Adam(lr=0.02, cosine=True), steps=60),))
"""A short version for a small embedding table."""

DEMONSTRATION = Demonstration(SHORT, network="flat-text", facts=Knowledge.LABELS, least=0.7)
