"""Ablation: gradient dropout and the shift of the reconstruction (Ye et al., 2024, figure 6)."""

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
    about="At every evaluation, a share of the entries of the gradient is dropped. The offset is the shift, in pixels, "
    "at which the reconstruction correlates best with the ground truth.",
    cells=cells(DROPPED),
    repeats={**REPEATS, "default": 4},
    tables=(
        Table(
            "Reconstructed images", {"offset, pixels": "offset", **SCORES}, best="column", smaller=("offset", *SMALLER)
        ),
    ),
    figures=(
        Figure(
            "Shift over dropout",
            "dropout rate",
            "pixels",
            (StudyCurve("offset", "offset", tuple((rate, NAMES[rate]) for rate in RATES)),),
        ),
        Figure(
            "Quality over dropout",
            "dropout rate",
            "PSNR, dB",
            (StudyCurve("PSNR", "psnr", tuple((rate, NAMES[rate]) for rate in RATES)),),
        ),
    ),
    comparisons=(
        Comparison("less offset with dropout than without", NAMES[0.3], NAMES[0.0], "offset", smaller=True),
        Comparison("better images with dropout than without", NAMES[0.3], NAMES[0.0], "psnr"),
    ),
    caveats=(SETTING, "The paper shows images only; the offset in pixels is our own measure."),
)
