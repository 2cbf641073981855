"""Each skip connection of ResNet-18 and ResNet-34 cut (Du et al., 2024, figure 13, research question 5)."""

from dataclasses import replace

from ..models.cut_residual import CutResNet
from ._deep_cells import SOLVERS
from ._definition import Comparison, Figure, Study, StudyCurve
from ._design_cell import EXPLAINED_LARGE, LEAK_TABLE, DesignCell, leaks_more
from ._smoothness import CAVEAT, TABLE, correlations
from ._sok_cells import PAPER, STRANGER, gia_o

BLOCKS = {"resnet18": 8, "resnet34": 16}
STEPS = {"quick": 4, "default": 150, "paper": None}
PIXELS = {"quick": 8, "default": 16, "paper": None}
CUTS = {
    "quick": {"resnet18": (1, 4, 8), "resnet34": ()},
    "default": {"resnet18": tuple(range(1, 9)), "resnet34": ()},
    "paper": {name: tuple(range(1, count + 1)) for name, count in BLOCKS.items()},
}
SOLVER = "resnet18 by residual R-GAP"
SOLVER_CUTS = {"quick": (1,), "default": CUTS["default"]["resnet18"], "paper": CUTS["paper"]["resnet18"]}
COUNTS = {**BLOCKS, SOLVER: BLOCKS["resnet18"]}


def _name(network: str, cut: int | None) -> str:
    return f"{network}, " + ("whole" if cut is None else f"skip {cut} cut")


def _cell(scale: str, network: str, cut: int | None) -> DesignCell:
    return DesignCell(
        _name(network, cut),
        gia_o(STEPS[scale]),
        batch_size=1,
        knowledge=STRANGER,
        design=CutResNet(network, cut),
        size=PIXELS[scale],
        explained=EXPLAINED_LARGE[scale],
    )


def _solved(scale: str, cut: int | None) -> DesignCell:
    """Return the cell of residual R-GAP, which needs a last feature map of one pixel."""
    design = CutResNet("resnet18", cut, small=False)
    cell = replace(_cell(scale, SOLVER, cut), attack=SOLVERS[scale], design=design)
    return replace(cell, size=32, explained=None)


def _cells(scale: str) -> tuple[DesignCell, ...]:
    found = [_cell(scale, network, cut) for network, cuts in CUTS[scale].items() if cuts for cut in (None, *cuts)]
    return (*found, *(_solved(scale, cut) for cut in (None, *SOLVER_CUTS[scale])))


def _curves(column: str) -> tuple[StudyCurve, ...]:
    """Return one curve for each network; 0 is the whole network."""
    return tuple(
        StudyCurve(network, column, tuple((float(cut), _name(network, cut or None)) for cut in range(count + 1)))
        for network, count in COUNTS.items()
    )


def _claims() -> tuple[Comparison, ...]:
    """Return that every cut hurts, and that the first and the last hurt more than the middle one."""
    found: list[Comparison] = []
    for network, count in COUNTS.items():
        for cut in range(1, count + 1):
            claim = f"{network}: without skip {cut} less leaks"
            found += leaks_more(claim, _name(network, None), _name(network, cut))
        for end, word in ((1, "shallowest"), (count, "deepest")):
            claim = f"{network}: the {word} skip matters more than the middle one"
            found += leaks_more(claim, _name(network, count // 2), _name(network, end))
    return tuple(found)


STUDY = Study(
    name="sok-figure-13",
    title="Skip connections, cut one by one",
    paper=PAPER,
    about="ResNet-18 and ResNet-34 for small images, untrained, with the skip connection of one block cut. The client "
    "shares the gradient of one image; the adversary knows the label. Skip 1 is the shallowest; position 0 of a figure "
    "is the whole network. Residual R-GAP, which the paper does not have, solves the layers of ResNet-18 with its own "
    "stem, at 32 pixels.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 4, "paper": 20},
    tables=(LEAK_TABLE, TABLE),
    figures=(
        Figure("LPIPS over the cut", "number of the skip that is cut", "LPIPS", _curves("lpips")),
        Figure("PSNR over the cut", "number of the skip that is cut", "dB", _curves("psnr")),
        Figure("SSIM over the cut", "number of the skip that is cut", "SSIM", _curves("ssim")),
    ),
    comparisons=_claims(),
    correlations=correlations(("ssim", "psnr")),
    caveats=(
        "The paper prints no numbers. It reports that the whole networks leak most, that a cut anywhere worsens the "
        "attack, often to failure, and that cuts at the shallowest and deepest skips do so most.",
        "The cut block keeps its two convolutions and no longer adds its input; the other blocks are unchanged.",
        "Residual R-GAP takes further equations from a skip; without it the equations of the block's layers are left.",
        "Scale quick has images of 8 pixels, and three skips of ResNet-18. Scale default has images of 16 pixels, all "
        "skips of ResNet-18, and a shortened attack. Scale paper has the images of the data, all skips of both "
        "networks, and the attack's 4 800 steps.",
        CAVEAT,
    ),
)
