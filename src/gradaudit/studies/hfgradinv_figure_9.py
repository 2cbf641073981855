"""HFGradInv against two defenses (Ye et al., 2024, figure 9)."""

from dataclasses import replace

from ..protocol.defenses import Defense
from ..protocol.defenses.additive_noise import LaplaceNoise
from ..protocol.defenses.top_k import TopK
from ._attack_cell import SCORES, SMALLER
from ._definition import Comparison, Study, Table
from ._hfgradinv_cells import FOUR, PAPER, SETTING, cells

DEFENSES: dict[str, Defense | None] = {
    "no defense": None,
    "Laplace noise 0.1": LaplaceNoise(0.1, relative=True),
    "90 % pruned": TopK(0.1),
}
SHOWN = {name: FOUR[name] for name in ("Inverting Gradients", "HFGradInv")}
ROWS = {
    scale: tuple(
        replace(cell, name=f"{cell.name}, {name}", defense=defense)
        for name, defense in DEFENSES.items()
        for cell in rows
    )
    for scale, rows in cells(SHOWN, ("quick", "default", "paper")).items()
}

STUDY = Study(
    name="hfgradinv-figure-9",
    title="HFGradInv against defenses",
    paper=PAPER,
    about="The defenses are Laplace noise of a tenth of each tensor's largest entry, and pruning that keeps a tenth of "
    "the entries. The adversary does not know the defense.",
    cells=ROWS,
    repeats={"quick": 2, "default": 4, "paper": 4},
    tables=(Table("Reconstructed images", SCORES, best="column", smaller=SMALLER),),
    comparisons=tuple(
        Comparison(
            f"HFGradInv above Inverting Gradients, {name}", f"HFGradInv, {name}", f"Inverting Gradients, {name}", "psnr"
        )
        for name in DEFENSES
    ),
    caveats=(
        SETTING,
        "The paper states that images are reconstructed under both defenses, without numbers. Its text has 0.1 and "
        "90 %, its code 0.5 and 99 %.",
    ),
)
