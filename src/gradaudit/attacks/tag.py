"""TAG (Deng et al., EMNLP Findings 2021): DLG on text with absolute differences beside the squared ones."""

from dataclasses import replace

from ..inversion.parts.objectives import EuclideanL1
from . import dlg_text

ATTACK = replace(
    dlg_text.ATTACK,
    name="tag",
    paper="arXiv:2103.06819",
    objective=EuclideanL1(alpha=0.01),
    deviations=(
        "the absolute differences of every layer count the same, where the paper lets them fall with the depth",
        "2 500 steps of Adam at 0.1 as in LAMP's comparison",
        "the tokens that frame a text and its padding are known, as in LAMP's comparison",
        "returns the iterate with the lowest objective",
    ),
)
