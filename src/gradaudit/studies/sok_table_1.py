"""Several local updates on one batch, attacked as one gradient (Du et al., 2024, table I)."""

from ..protocol.local_training import FedAvg
from ._definition import Cell, Comparison, Figure, Study, StudyCurve
from ._sok_cells import CAVEATS, PAPER, RATE, STRANGER, TABLES, WITH_GENERATOR, SoKCell, both

UPDATES = (1, 2, 4, 6, 8)
STEPS = {"quick": 40, "default": 200, "paper": None}
LPIPS = {
    "GIA-O": ((0.0374, 0.0933, 0.1508, 0.1917, 0.2089), (0.0061, 0.0455, 0.1248, 0.1630, 0.2305)),
    "GIA-L": ((0.0608, 0.1040, 0.1332, 0.1891, 0.1917), (0.0382, 0.0578, 0.1222, 0.1712, 0.1886)),
}


def _name(attack: str, updates: int) -> str:
    return f"{attack}, τ {updates}"


def _cells(scale: str) -> tuple[Cell, ...]:
    network = "resnet18" if scale == "paper" else "fedavg-cnn"
    return tuple(
        SoKCell(
            _name(row, updates),
            attack,
            network,
            knowledge=WITH_GENERATOR if row == "GIA-L" else STRANGER,
            training=FedAvg(learning_rate=RATE, epochs=updates),
        )
        for row, attack in both(STEPS[scale]).items()
        for updates in UPDATES
    )


def _curve(column: str) -> tuple[StudyCurve, ...]:
    return tuple(StudyCurve(row, column, tuple((updates, _name(row, updates)) for updates in UPDATES)) for row in LPIPS)


STUDY = Study(
    name="sok-table-1",
    title="Several local updates on one batch",
    paper=PAPER,
    about="The client takes τ SGD steps on the same batch of four images and shares the weight difference. The "
    "adversary knows the model, the batch size and the labels, but nothing about the local training, and treats the "
    "difference as one gradient.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 2, "default": 12, "paper": 20},
    tables=TABLES,
    figures=(
        Figure("SSIM over the local updates", "τ", "SSIM", _curve("ssim")),
        Figure("PSNR over the local updates", "τ", "dB", _curve("psnr")),
    ),
    reported={
        _name(attack, updates): {"lpips.10": ten, "lpips.100": hundred}
        for attack, (tens, hundreds) in LPIPS.items()
        for updates, ten, hundred in zip(UPDATES, tens, hundreds, strict=True)
    },
    comparisons=tuple(
        Comparison(f"τ = {fewer} leaks more than τ = {more}", _name("GIA-O", fewer), _name("GIA-O", more), column)
        for fewer, more in ((1, 4), (4, 8))
        for column in ("ssim", "psnr")
    )
    + tuple(
        Comparison(f"GIA-L leaks more than GIA-O at τ = {updates}", _name("GIA-L", updates), _name("GIA-O", updates), c)
        for updates in (6, 8)
        for c in ("ssim", "psnr")
    ),
    caveats=(
        *CAVEATS,
        "The paper does not say whether its adversary simulates the τ updates. Its attack fails from τ = 4 on, which "
        "suggests that it does not. Ours does not.",
    ),
)
