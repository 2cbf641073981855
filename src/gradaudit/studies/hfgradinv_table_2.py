"""Ablation of HFGradInv (Ye et al., 2024, table 2)."""

from dataclasses import replace
from itertools import pairwise

from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ._attack_cell import SCORES, SMALLER
from ._definition import Comparison, Study, Table
from ._hfgradinv_cells import PAPER, REPEATS, SETTING, cells

WHOLE = HFGRADINV
STAGE = WHOLE.stages[0]
# All tensors are compared and all priors act from the start; only the last row has the full schedule.
AT_ONCE = tuple(replace(term, start=0.0) for term in STAGE.terms)
CONSTANT = replace(WHOLE, objective=replace(WHOLE.objective, stepwise=False))
PARTS = {
    "gradient only": replace(CONSTANT, stages=(replace(STAGE, terms=()),)),
    "+ priors": replace(CONSTANT, stages=(replace(STAGE, terms=AT_ONCE),)),
    "+ stepwise": replace(WHOLE, stages=(replace(STAGE, terms=AT_ONCE),)),
    "+ schedule": WHOLE,
}
NAMES = tuple(PARTS)

STUDY = Study(
    name="hfgradinv-table-2",
    title="Ablation of HFGradInv",
    paper=PAPER,
    about="The rows add one part at a time: the gradient distance on all tensors from the start; total variation and "
    "BatchNorm statistics from the start; tensors from deep to shallow; the start times of the priors.",
    cells=cells(PARTS),
    repeats=REPEATS,
    tables=(Table("Reconstructed images", SCORES, best="column", smaller=SMALLER),),
    reported={
        "gradient only": {"lpips": 0.80, "psnr": 8.34, "ssim": 0.27},
        "+ priors": {"lpips": 0.57, "psnr": 10.79, "ssim": 0.34},
        "+ stepwise": {"lpips": 0.27, "psnr": 14.71, "ssim": 0.50},
        "+ schedule": {"lpips": 0.23, "psnr": 15.99, "ssim": 0.55},
    },
    comparisons=tuple(
        Comparison(f"{more} above {less}", more, less, column)
        for column in ("psnr", "ssim")
        for less, more in pairwise(NAMES)
    ),
    caveats=(
        SETTING,
        "The paper does not say what its schedule switches; here it is interpreted as the start times of the priors.",
    ),
)
