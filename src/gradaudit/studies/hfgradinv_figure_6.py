"""Gradient dropout against the shift of what comes back (Ye et al., 2024, figure 6)."""

from dataclasses import replace

from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ._attack_cell import SCORES, SMALLER
from ._definition import Comparison, Figure, Study, StudyCurve, Table
from ._hfgradinv_cells import PAPER, REPEATS, SETTING, cells

RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
NAMES = {rate: f"dropout {rate:g}" for rate in RATES}
DROPPED = {NAMES[rate]: replace(HFGRADINV, objective=replace(HFGRADINV.objective, dropout=rate)) for rate in RATES}

STUDY = Study(
    name="hfgradinv-figure-6",
    title="Gradient dropout and the spatial offset",
    paper=PAPER,
    about="At every evaluation a share of the gradient's entries is left out. The offset is the shift in pixels "
    "at which the "
    "reconstruction correlates best with the truth.",
    cells=cells(DROPPED),
    repeats={**REPEATS, "default": 4},
    tables=(
        Table(
            "Pictures recovered", {"offset, pixels": "offset", **SCORES}, best="column", smaller=("offset", *SMALLER)
        ),
    ),
    figures=(
        Figure(
            "Shift against dropout",
            "share left out",
            "pixels",
            (StudyCurve("offset", "offset", tuple((rate, NAMES[rate]) for rate in RATES)),),
        ),
        Figure(
            "Quality against dropout",
            "share left out",
            "PSNR, dB",
            (StudyCurve("PSNR", "psnr", tuple((rate, NAMES[rate]) for rate in RATES)),),
        ),
    ),
    comparisons=(
        Comparison("less offset with dropout than without", NAMES[0.3], NAMES[0.0], "offset", smaller=True),
        Comparison("better pictures with dropout than without", NAMES[0.3], NAMES[0.0], "psnr"),
    ),
    caveats=(SETTING, "The paper shows pictures; the offset in pixels is our measure."),
)
