"""HFGradInv on increasing batch sizes (Ye et al., 2024, figure 7)."""

from ._attack_cell import SCORES, SMALLER, AttackCell
from ._definition import Comparison, Figure, Study, StudyCurve, Table
from ._hfgradinv_cells import FOUR, PAPER, SETTING, STEPS, shorter

SIZES = (1, 2, 4, 8)
LARGER = (4, 8, 16, 32, 64)
SHOWN = ("Inverting Gradients", "HFGradInv")


def _name(attack: str, size: int) -> str:
    return f"{attack}, B {size}"


def _cells(scale: str) -> tuple[AttackCell, ...]:
    if scale == "paper":
        setting = {"network": "resnet34", "trained": True}
        return tuple(AttackCell(_name(a, b), FOUR[a], batch_size=b, **setting) for a in SHOWN for b in LARGER)  # type: ignore[arg-type]
    sizes = SIZES[:2] if scale == "quick" else SIZES
    return tuple(AttackCell(_name(a, b), shorter(FOUR[a], STEPS[scale]), batch_size=b) for a in SHOWN for b in sizes)


def _curves(column: str) -> tuple[StudyCurve, ...]:
    sizes = sorted({*SIZES, *LARGER})
    return tuple(StudyCurve(attack, column, tuple((size, _name(attack, size)) for size in sizes)) for attack in SHOWN)


STUDY = Study(
    name="hfgradinv-figure-7",
    title="HFGradInv on increasing batch sizes",
    paper=PAPER,
    about="Attacks on batches of one to eight images with distinct labels; up to 64 images at scale paper.",
    cells={scale: _cells(scale) for scale in ("quick", "default", "paper")},
    repeats={"quick": 2, "default": 3, "paper": 4},
    tables=(Table("Reconstructed images", SCORES, best="column", smaller=SMALLER),),
    figures=(
        Figure("PSNR over the batch size", "batch size", "dB", _curves("psnr")),
        Figure("Gain over the mean image", "batch size", "dB", _curves("gain")),
    ),
    comparisons=tuple(
        Comparison(f"HFGradInv above Inverting Gradients at B {size}", *(_name(a, size) for a in SHOWN[::-1]), "psnr")
        for size in SIZES
    ),
    caveats=(SETTING, "The paper shows a curve without numbers."),
)
