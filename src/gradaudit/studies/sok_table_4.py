"""Small parts of a network: bias, ReLU, dropout, max-pool, kernels, padding (Du et al., 2024, table IV)."""

from dataclasses import replace

from ..models.micro_design import MicroDesign
from ..protocol.local_training import FedSGD
from ._definition import Figure, Study, StudyCurve
from ._design_cell import EXPLAINED, LEAK_TABLE, DesignCell, leaks_more
from ._smoothness import CAVEAT, TABLE, correlations
from ._sok_cells import PAPER, STRANGER, gia_o

STEPS = {"quick": 15, "default": 400, "paper": None}
WIDTH = {"quick": 2, "default": 32, "paper": 64}
DEPTH = {"quick": 3, "default": 3, "paper": 8}
WHOLE = "none"
EASIER = {
    "remove ReLU": {"relu": False},
    "remove dropout": {"dropout": 0.0},
    "remove max-pool": {"pool": False},
    "kernel 3 to 4": {"kernel": 4},
}
HARDER = {
    "remove bias": {"bias": False},
    "kernel 3 to 2": {"kernel": 2},
    "kernel 3 to 1": {"kernel": 1},
    "padding 1 to 2": {"padding": 2},
    "padding 1 to 3": {"padding": 3},
}
ROWS = {WHOLE: {}, **EASIER, **HARDER}
LPIPS = (0.0080, 0.0008, 0.0048, 0.0003, 0.0022, 0.0280, 0.0251, 0.2139, 0.0091, 0.0203)


def _cells(scale: str) -> tuple[DesignCell, ...]:
    whole = MicroDesign(width=WIDTH[scale], depth=DEPTH[scale])
    return tuple(
        DesignCell(
            name,
            gia_o(STEPS[scale]),
            batch_size=1,
            knowledge=STRANGER,
            training=FedSGD(dropout=True),
            design=replace(whole, **change),  # type: ignore[arg-type]
            explained=EXPLAINED[scale],
        )
        for name, change in ROWS.items()
    )


def _curve(label: str, column: str) -> tuple[StudyCurve, ...]:
    return (StudyCurve(label, column, tuple((float(number), name) for number, name in enumerate(ROWS, 1))),)


STUDY = Study(
    name="sok-table-4",
    title="Small parts of a network",
    paper=PAPER,
    about="A plain ConvNet with bias, ReLU, two max-pools and dropout, changed in one respect at a time. The client "
    "shares the gradient of one image, with dropout on; the adversary knows the label.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 2, "default": 8, "paper": 20},
    tables=(LEAK_TABLE, TABLE),
    figures=(
        Figure("LPIPS by modification", "row of the table", "LPIPS", _curve("measured", "lpips")),
        Figure("PSNR by modification", "row of the table", "dB", _curve("PSNR", "psnr")),
    ),
    reported={name: {"lpips": value} for name, value in zip(ROWS, LPIPS, strict=True)},
    comparisons=(
        *(one for name in EASIER for one in leaks_more(f"{name}: leaks more", name, WHOLE)),
        *(one for name in HARDER for one in leaks_more(f"{name}: leaks less", WHOLE, name)),
    ),
    correlations=correlations(("ssim", "psnr")),
    caveats=(
        "The stored text of the paper lacks the sizes of the kernels and the padding. Paddings of 2 and 3 as the "
        "changes suggest kernels of 3 with padding 1; two smaller kernels then are 2 and 1, and the larger one is 4, "
        "as 5 leaves nothing of a feature map behind the second pool.",
        "The network is the ConvNet of Inverting Gradients without its BatchNorm, which the paper does not list among "
        "the parts. Its width is 2 at scale quick, 32 at default and 64 at paper. Scales quick and default have three "
        "of its eight convolutions: of the eight, with 12 or 32 channels, no leak was shown in 400 steps, so that "
        "no part could be compared. Dropout zeroes a tenth of the last features in training, and the adversary does "
        "not know which; the paper states no rate.",
        "Kernels and padding change the size of the feature maps and with it the number of weights of the last layer.",
        CAVEAT,
    ),
)
