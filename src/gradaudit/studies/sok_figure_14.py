"""Densely connected networks with fewer connections (Du et al., 2024, figure 14, research question 5)."""

from typing import get_args

from ..models.dense_connections import DEPTHS, Connections, DenselyConnected
from ._definition import Comparison, Figure, Study, StudyCurve
from ._design_cell import EXPLAINED, LEAK_TABLE, DesignCell, leaks_more
from ._smoothness import CAVEAT, TABLE, correlations
from ._sok_cells import PAPER, STRANGER, gia_o

STEPS = {"quick": 4, "default": 150, "paper": None}
PIXELS = {"quick": 16, "default": 16, "paper": None}
GROWTH = {"quick": 8, "default": 32, "paper": 32}
WORDS: dict[Connections, str] = {"all": "all connections", "odd": "variant 1", "powers": "variant 2"}


def _name(network: str, connections: Connections) -> str:
    return f"{network}, {WORDS[connections]}"


def _cells(scale: str) -> tuple[DesignCell, ...]:
    return tuple(
        DesignCell(
            _name(network, connections),
            gia_o(STEPS[scale]),
            batch_size=1,
            knowledge=STRANGER,
            design=DenselyConnected(network, connections, GROWTH[scale]),
            size=PIXELS[scale],
            explained=EXPLAINED[scale],
        )
        for network in DEPTHS
        for connections in get_args(Connections)
    )


def _curves(column: str) -> tuple[StudyCurve, ...]:
    return tuple(
        StudyCurve(network, column, tuple((float(number), _name(network, one)) for number, one in enumerate(WORDS)))
        for network in DEPTHS
    )


def _claims() -> tuple[Comparison, ...]:
    found: list[Comparison] = []
    for network in DEPTHS:
        whole, first, second = (_name(network, one) for one in WORDS)
        found += leaks_more(f"{network}: fewer connections leak less, variant 1", whole, first)
        found += leaks_more(f"{network}: fewer connections leak less, variant 2", whole, second)
        found += leaks_more(f"{network}: variant 2 leaks less than variant 1", first, second)
        found.append(Comparison(f"{network}: variant 2 leaks nothing", second, "", "gain", smaller=True, mark=0.0))
    return tuple(found)


STUDY = Study(
    name="sok-figure-14",
    title="Fewer connections in a densely connected network",
    paper=PAPER,
    about="DenseNet-43 and DenseNet-53, untrained, with all connections of a block, with those at odd distances "
    "(variant 1, ShortNet1) and with those at distances of powers of two less one (variant 2, ShortNet2). The client "
    "shares the gradient of one image; the adversary knows the label.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 6, "paper": 20},
    tables=(LEAK_TABLE, TABLE),
    figures=(
        Figure("LPIPS", "variant, 0 has all connections", "LPIPS", _curves("lpips")),
        Figure("PSNR", "variant, 0 has all connections", "dB", _curves("psnr")),
    ),
    comparisons=_claims(),
    correlations=correlations(("ssim", "psnr")),
    caveats=(
        "The paper shows pictures and no numbers: what the whole networks leak is largely unrecognisable from variant "
        "1, and nothing comes back from variant 2. Nothing counts here as no gain over the mean image.",
        "Both variants are those of the paper that it cites (Ju et al., 2022, arXiv:2208.01424): the connections, "
        "depths and growth rate are taken from its published networks. Convolutions have He's initialisation.",
        "Scale quick has a growth rate of 8 and images of 16 pixels; default has images of 16 pixels and a shortened "
        "attack; paper has the images of the data and the attack's 4 800 steps.",
        CAVEAT,
    ),
)
