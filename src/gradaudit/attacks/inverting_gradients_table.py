"""Inverting Gradients on tables, with the settings of TabLeak's comparison (Vero et al., 2023)."""

from dataclasses import replace

from ..inversion.parts.parametrisations.table_rows import TableRows
from ._demonstration import Demonstration, shortened
from .inverting_gradients import EXACT as INVERTING_GRADIENTS
from .tableak import MEMBER

ATTACK = replace(
    INVERTING_GRADIENTS,
    name="inverting-gradients-table",
    stages=(replace(MEMBER.stages[0], parametrisation=TableRows(softmax=False, bounds=False)),),
    deviations=(
        *INVERTING_GRADIENTS.deviations,
        "has no total variation, and uses TabLeak's learning rate 0.06 and 1 500 steps, as TabLeak's authors run it",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 250), network="tabular-mlp", examples=2, least=0.4)
