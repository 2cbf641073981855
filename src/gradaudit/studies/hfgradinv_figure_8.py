"""Ablation: which blocks' gradients to compare (Ye et al., 2024, figure 8)."""

from dataclasses import replace

from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ._attack_cell import SCORES, SMALLER
from ._definition import Comparison, Study, Table
from ._hfgradinv_cells import PAPER, SETTING, cells

USED = {
    "block 2": (2,),
    "block 3": (3,),
    "block 4": (4,),
    "blocks 4, 3": (3, 4),
    "blocks 4, 3, 2": (2, 3, 4),
    "all": (0, 1, 2, 3, 4),
}
BLOCKS = {
    name: replace(HFGRADINV, objective=replace(HFGRADINV.objective, blocks=blocks)) for name, blocks in USED.items()
}

STUDY = Study(
    name="hfgradinv-figure-8",
    title="Which blocks' gradients HFGradInv should use",
    paper=PAPER,
    about="The attack only compares the gradients of these blocks of a ResNet. The classifier belongs to block 4; the "
    "stem is only part of all.",
    cells=cells(BLOCKS, ("quick", "default", "paper"), network="resnet18"),
    repeats={"quick": 2, "default": 3, "paper": 4},
    tables=(Table("Reconstructed images", SCORES, best="column", smaller=SMALLER),),
    reported={name: {"lpips": value} for name, value in zip(USED, (0.80, 0.75, 0.36, 0.31, 0.27, 0.42), strict=True)},
    comparisons=(
        Comparison("block 4 above block 3", "block 4", "block 3", "psnr"),
        Comparison("block 4 above block 2", "block 4", "block 2", "psnr"),
        Comparison("blocks 4 and 3 above block 4", "blocks 4, 3", "block 4", "psnr"),
        Comparison("blocks 4, 3 and 2 above blocks 4 and 3", "blocks 4, 3, 2", "blocks 4, 3", "psnr"),
        Comparison("block 1 and the stem hurt", "blocks 4, 3, 2", "all", "psnr"),
    ),
    caveats=(SETTING, "This study uses ResNet-18, which has the paper's four blocks, with its stem for large images."),
)
