"""APRIL's closed form at the patch embedding: one picture out of any vision transformer that learns its positions."""

from dataclasses import replace

from . import april
from ._demonstration import Demonstration

ATTACK = replace(
    april.ATTACK,
    name="april-patches",
    through="patches",
    deviations=(
        "solves at the patch embedding, where the paper solves at the first attention: with the same gradient of the "
        "position embedding, and without the paper's condition on what follows",
        *april.ATTACK.deviations,
    ),
)

DEMONSTRATION = Demonstration(ATTACK, network="vit-april", size=32, seeded=False)
