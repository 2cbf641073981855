"""HFGradInv and earlier attacks (Ye et al., 2024, table 1), also with repeated labels (figure 4)."""

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
    title="HFGradInv and earlier attacks",
    paper=PAPER,
    about="All attacks run on the same batches with distinct, known labels. Two of them also run on batches in which "
    "every label occurs twice; they infer the labels with their own methods.",
    cells={**ROWS, "long": LONG},
    repeats={**REPEATS, "default": 6},
    tables=(Table("Reconstructed images", SCORES, best="column", smaller=SMALLER),),
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
            "HFGradInv above GradInversion with repeated labels",
            "HFGradInv, labels in pairs",
            "GradInversion, labels in pairs",
            "psnr",
        ),
        Comparison(
            "HFGradInv infers more labels than GradInversion if labels repeat",
            "HFGradInv, labels in pairs",
            "GradInversion, labels in pairs",
            "labels",
        ),
    ),
    caveats=(
        SETTING,
        "GradInversion has two candidates here and eight in the paper. The steps of DLG are counted as evaluations: "
        "one L-BFGS step has twenty.",
        "The paper's first row is random noise (LPIPS 1.39, PSNR 9.82, SSIM 0.21), the start of every attack. The "
        "control used here is the mean of all other images.",
    ),
)
