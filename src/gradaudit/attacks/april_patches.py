"""APRIL's closed form at the patch embedding: recover one image from any vision transformer with learned positions."""

from dataclasses import replace

from . import april
from ._demonstration import Demonstration

ATTACK = replace(
    april.ATTACK,
    name="april-patches",
    through="patches",
    deviations=(
        "solves at the patch embedding, where the paper solves at the first attention: it uses the same gradient of "
        "the position embedding, and does not need the paper's condition on the later layers",
        *april.ATTACK.deviations,
    ),
)

DEMONSTRATION = Demonstration(ATTACK, network="vit-april", size=32, seeded=False)
