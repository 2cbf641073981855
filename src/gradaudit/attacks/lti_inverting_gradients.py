"""Inverting Gradients from the images of Learning to Invert (the pattern of Chen & Liu, 2025, arXiv:2505.20026)."""

from dataclasses import replace

from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.part import Term
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.started import Started
from ._demonstration import Demonstration, shortened
from .inverting_gradients import EXACT as INVERTING_GRADIENTS
from .lti import ATTACK as LTI
from .lti import DEMONSTRATION as OF_START

_STAGE = INVERTING_GRADIENTS.stages[0]

ATTACK = Started(
    replace(
        INVERTING_GRADIENTS,
        stages=(
            replace(
                _STAGE,
                optimiser=Adam(lr=0.01, milestones=(3 / 8, 5 / 8, 7 / 8)),
                steps=1_000,
                terms=(Term(TotalVariation(), weight=1e-2),),
            ),
        ),
        deviations=(
            *INVERTING_GRADIENTS.deviations,
            "1 000 signed steps of 0.01, because the first candidate is near the images (alone: 4 800 of 0.1)",
            "a tenth of the weight of the total variation, because the first candidate is smooth",
        ),
    ),
    LTI,
)

DEMONSTRATION = Demonstration(Started(shortened(ATTACK.attack, 300), replace(OF_START.attack, steps=20)), least=5.0)
