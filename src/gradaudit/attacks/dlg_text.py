"""DLG on text (Zhu et al., 2019, section 4.3): match the gradient with free embeddings, read off the nearest tokens."""

from ..inversion.parts.labels import JointLabels
from ..inversion.parts.objectives import Euclidean
from ..inversion.parts.optimisers import Adam
from ..inversion.parts.parametrisations import TokenEmbeddings
from ..inversion.parts.part import Stage
from ..inversion.run.gradient_matching import GradientMatching

ATTACK = GradientMatching(
    name="dlg-text",
    paper="arXiv:1906.08935",
    objective=Euclidean(),
    labels=JointLabels(),
    stages=(Stage(TokenEmbeddings(), Adam(lr=0.1), steps=2_500),),
    deviations=(
        "Adam with the settings of LAMP's comparison, where the paper takes L-BFGS, which stalls on transformers",
        "the tokens that frame a text and its padding are known, as in LAMP's comparison",
        "returns the iterate with the lowest gradient distance",
    ),
)
