"""Local minibatches of known or unknown size (Du et al., 2024, table II)."""

from ..protocol.local_training import FedAvg
from ..values.types import Knowledge
from ._definition import Cell, Comparison, Figure, Study, StudyCurve
from ._sok_cells import CAVEATS, PAPER, RATE, STRANGER, TABLES, TOLD, SoKCell, both

MINIBATCHES = (1, 2, 3, 4, 5)
SIZE = 2
STEPS = {"quick": 40, "default": 150, "paper": None}
FACTS = {"known": TOLD, "unknown": STRANGER}
LPIPS = {
    "GIA-O, B known": ((0.0660, 0.0960, 0.0696, 0.0943, 0.0931), (0.0079, 0.0534, 0.0523, 0.0395, 0.0692)),
    "GIA-O, B unknown": ((0.0660, 0.0961, 0.1034, 0.1142, 0.1158), (0.0079, 0.0431, 0.0580, 0.1022, 0.1145)),
    "GIA-L, B known": ((0.0678, 0.0534, 0.0791, 0.0647, 0.0715), (0.0325, 0.0742, 0.0409, 0.0510, 0.0692)),
    "GIA-L, B unknown": ((0.0678, 0.0860, 0.1089, 0.1050, 0.1127), (0.0325, 0.0774, 0.0821, 0.1016, 0.1091)),
}


def _name(row: str, count: int) -> str:
    return f"{row}, {count} minibatch{'es' if count > 1 else ''}"


def _cells(scale: str) -> tuple[Cell, ...]:
    network = "resnet18" if scale == "paper" else "fedavg-cnn"
    return tuple(
        SoKCell(
            _name(f"{row}, B {known}", count),
            attack,
            network,
            batch_size=SIZE * count,
            knowledge=facts | Knowledge.GENERATOR if row == "GIA-L" else facts,
            training=FedAvg(learning_rate=RATE, minibatch_size=SIZE),
        )
        for row, attack in both(STEPS[scale]).items()
        for known, facts in FACTS.items()
        for count in MINIBATCHES
    )


def _curves(column: str) -> tuple[StudyCurve, ...]:
    rows = list(LPIPS)
    return tuple(StudyCurve(row, column, tuple((count, _name(row, count)) for count in MINIBATCHES)) for row in rows)


STUDY = Study(
    name="sok-table-2",
    title="Local minibatches of known or unknown size",
    paper=PAPER,
    about="The client takes one SGD step on each of one to five minibatches of two images and shares the weight "
    "difference. With B known, the adversary simulates these steps on its candidate; with B unknown, it simulates one "
    "step over all images. It knows the number of images and the labels.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 6, "paper": 10},
    tables=TABLES,
    figures=(
        Figure("SSIM over the minibatches", "minibatches", "SSIM", _curves("ssim")),
        Figure("PSNR over the minibatches", "minibatches", "dB", _curves("psnr")),
    ),
    reported={
        _name(row, count): {"lpips.10": ten, "lpips.100": hundred}
        for row, (tens, hundreds) in LPIPS.items()
        for count, ten, hundred in zip(MINIBATCHES, tens, hundreds, strict=True)
    },
    comparisons=tuple(
        Comparison(
            f"B known leaks more than B unknown, {count} minibatches",
            _name("GIA-O, B known", count),
            _name("GIA-O, B unknown", count),
            column,
        )
        for count in (3, 4, 5)
        for column in ("ssim", "psnr")
    ),
    caveats=(
        *CAVEATS,
        "The paper does not say whether the batch grows with the number of minibatches or is divided into them. Here "
        "each minibatch has two images, so both rows become harder with their number, and are compared on the same "
        "batches.",
        "With the size, the adversary also knows the learning rate and the order of the examples, because their labels "
        "are granted in that order. With one minibatch, both rows are the same attack.",
    ),
)
