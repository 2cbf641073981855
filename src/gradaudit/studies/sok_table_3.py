"""The gradient of a single net-in-net block of GoogLeNet and Inception-v3 (Du et al., 2024, table III)."""

from ..models.small_classifiers import SmallClassifier
from ..protocol.local_training import FedSGD
from ._definition import Figure, Study, StudyCurve
from ._design_cell import EXPLAINED_LARGE, LEAK_TABLE, DesignCell, leaks_more
from ._smoothness import CAVEAT, TABLE, correlations
from ._sok_cells import PAPER, STRANGER, gia_o

STEPS = {"quick": 4, "default": 100, "paper": None}
FULL = "full gradient"
BLOCKS = {
    "googlenet": ("inception3a", "inception4d", "inception4a", "inception4c"),
    "inception_v3": ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a"),
}
LPIPS = {
    "googlenet": (0.0614, 0.0654, 0.0667, 0.0710, 0.0620),
    "inception_v3": (0.0332, 0.0472, 0.0435, 0.0433, 0.0360),
}
SHARES = {"googlenet": (1.0, 0.0272, 0.1168, 0.0658, 0.0925), "inception_v3": (1.0, 0.0114, 0.0156, 0.0176, 0.0526)}
NETWORKS = {"quick": ("googlenet",), "default": tuple(BLOCKS), "paper": tuple(BLOCKS)}
SIDE = {"googlenet": {"quick": 16, "default": 32, "paper": 32}, "inception_v3": {"default": 75, "paper": 75}}


def _name(network: str, number: int) -> str:
    return f"{network}, {f'block {number}' if number else FULL}"


def _cells(scale: str) -> tuple[DesignCell, ...]:
    return tuple(
        DesignCell(
            _name(network, number),
            gia_o(STEPS[scale]),
            batch_size=1,
            knowledge=STRANGER,
            training=FedSGD(shared=(f"{block}.*",) if block else ("*",)),
            design=SmallClassifier(network),
            size=SIDE[network][scale],
            explained=EXPLAINED_LARGE[scale],
        )
        for network in NETWORKS[scale]
        for number, block in enumerate(("", *BLOCKS[network]))
    )


def _curves(column: str) -> tuple[StudyCurve, ...]:
    numbers = range(len(next(iter(BLOCKS.values()))) + 1)
    return tuple(
        StudyCurve(network, column, tuple((float(number), _name(network, number)) for number in numbers))
        for network in BLOCKS
    )


STUDY = Study(
    name="sok-table-3",
    title="The gradient of one net-in-net block",
    paper=PAPER,
    about="GoogLeNet and Inception-v3, untrained. The adversary sees the whole gradient of one image, or only that of "
    "one of four blocks of parallel convolutions; it knows the label. Position 0 of a figure is the whole gradient.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 3, "paper": 20},
    tables=(LEAK_TABLE, TABLE),
    figures=(
        Figure("LPIPS over the block", "block, 0 is the whole gradient", "LPIPS", _curves("lpips")),
        Figure("PSNR over the block", "block, 0 is the whole gradient", "dB", _curves("psnr")),
    ),
    reported={
        _name(network, number): {"lpips": value}
        for network, values in LPIPS.items()
        for number, value in enumerate(values)
    },
    comparisons=tuple(
        one
        for network in BLOCKS
        for number in range(1, 5)
        for one in leaks_more(
            f"{network}: the whole gradient leaks more than block {number} alone",
            _name(network, 0),
            _name(network, number),
        )
    ),
    correlations=correlations(("ssim", "psnr")),
    caveats=(
        "The finding of the paper is that one block leaks nearly as much as the whole gradient: read the size of the "
        "difference, not only its sign.",
        "The paper numbers its blocks without naming them. Here they are torchvision's blocks with the nearest share "
        "of the parameters: published 2.72, 11.68, 6.58 and 9.25 % of GoogLeNet, and 1.14, 1.56, 1.76 and 5.26 % of "
        "Inception-v3. The published 60 928 parameters of GoogLeNet's third block contradict its 6.58 %.",
        "torchvision's GoogLeNet has 3x3 in place of 5x5 convolutions, BatchNorm and no auxiliary outputs, and starts "
        "with strides that leave 4 x 4 of 32 x 32 pixels. Convolutions have He's initialisation. Inception-v3 needs 75 "
        "pixels, to which images are enlarged; scale quick leaves it out and has images of 16 pixels.",
        CAVEAT,
    ),
)
