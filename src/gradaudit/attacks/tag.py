"""TAG (Deng et al., EMNLP Findings 2021): DLG on text, with absolute differences in addition to squared ones."""

from dataclasses import replace

from ..inversion.parts.objectives.euclidean_l1 import EuclideanL1
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.token_embeddings import TokenEmbeddings
from ..inversion.parts.part import Stage
from . import dlg_text

ATTACK = replace(
    dlg_text.ATTACK,
    name="tag",
    paper="arXiv:2103.06819",
    objective=EuclideanL1(alpha=0.01),
    deviations=(
        "the absolute differences of every layer count the same, where in the paper their weight falls with the depth",
        "2 500 steps of Adam at 0.1 as in LAMP's comparison",
        "the opening and closing tokens of a text and its padding are known, as in LAMP's comparison",
        "returns the iterate with the lowest objective",
    ),
)

DEMONSTRATION = replace(
    dlg_text.DEMONSTRATION,
    attack=replace(ATTACK, stages=(Stage(TokenEmbeddings(length="start"), Adam(lr=0.02), steps=60),)),
)
