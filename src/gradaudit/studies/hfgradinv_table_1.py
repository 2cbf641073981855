"""HFGradInv against the attacks before it (Ye et al., 2024, table 1), and where labels repeat (its figure 4)."""

from dataclasses import replace

from ..values.types import Knowledge, Level
from ._attack_cell import SCORES, SMALLER
from ._definition import Comparison, Study, Table
from ._hfgradinv_cells import FOUR, PAPER, REPEATS, SETTING, cells

GUESSED = Level.BASIC | Knowledge.PUBLIC_DATA
ROWS = {
    scale: (
        *rows,
        *(
            replace(cell, name=f"{cell.name}, labels in pairs", labels="pairs", knowledge=GUESSED)
            for cell in rows
            if cell.name in ("GradInversion", "HFGradInv")
        ),
    )
    for scale, rows in cells(FOUR).items()
}

LONG = tuple(cell for cell in ROWS["long"] if cell.name in ("Inverting Gradients", "HFGradInv"))

STUDY = Study(
    name="hfgradinv-table-1",
    title="HFGradInv and the attacks before it",
    paper=PAPER,
    about="Every attack on the same batches with distinct labels, which the adversary knows; and two of them on "
    "batches "
    "in which every label comes twice, which each reads off the update in its own way.",
    cells={**ROWS, "long": LONG},
    repeats={**REPEATS, "default": 6},
    tables=(Table("Pictures recovered", SCORES, best="column", smaller=SMALLER),),
    reported={
        "DLG": {"lpips": 1.01, "psnr": 9.31, "ssim": 0.25},
        "Inverting Gradients": {"lpips": 0.58, "psnr": 11.99, "ssim": 0.31},
        "GradInversion": {"lpips": 0.39, "psnr": 13.22, "ssim": 0.44},
        "HFGradInv": {"lpips": 0.33, "psnr": 15.12, "ssim": 0.49},
        "GradInversion, labels in pairs": {"lpips": 0.74},
        "HFGradInv, labels in pairs": {"lpips": 0.27},
    },
    comparisons=(
        Comparison("HFGradInv above Inverting Gradients", "HFGradInv", "Inverting Gradients", "psnr"),
        Comparison("HFGradInv above Inverting Gradients", "HFGradInv", "Inverting Gradients", "ssim"),
        Comparison("HFGradInv above GradInversion", "HFGradInv", "GradInversion", "psnr"),
        Comparison(
            "HFGradInv above GradInversion where labels repeat",
            "HFGradInv, labels in pairs",
            "GradInversion, labels in pairs",
            "psnr",
        ),
        Comparison(
            "HFGradInv reads more labels where they repeat",
            "HFGradInv, labels in pairs",
            "GradInversion, labels in pairs",
            "labels",
        ),
    ),
    caveats=(
        SETTING,
        "GradInversion has two guesses that must agree, where the paper's attack has eight. DLG counts "
        "evaluations: a "
        "step of its L-BFGS holds twenty.",
        "Random noise, the paper's first row (LPIPS 1.39, PSNR 9.82, SSIM 0.21), is where every attack starts; "
        "ours is the "
        "control, the mean of all other pictures.",
    ),
)
