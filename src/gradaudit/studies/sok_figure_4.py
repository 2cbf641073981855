"""Batch size and resolution (Du et al., 2024, figure 4, research question 2)."""

from collections.abc import Callable
from dataclasses import replace

from ..inversion.parts.part import Term
from ..inversion.parts.priors.batch_norm_statistics import BatchNormStatistics
from ..inversion.run.gradient_matching import GradientMatching
from ..values.types import Knowledge
from ._definition import Cell, Comparison, Correlation, Figure, Study, StudyCurve
from ._design_cell import LEAK_TABLE, LEAKS, DesignCell, leaks_more
from ._generator_rows import NEEDED
from ._sok_cells import PAPER, STRANGER, WITH_GENERATOR, gia_l, gia_o

STEPS = {"quick": 10, "default": 80, "paper": None}
NETWORK = {"quick": "fedavg-cnn-bn", "default": "fedavg-cnn-bn", "paper": "resnet18"}
BATCHES = {"quick": (1, 4), "default": (1, 10, 30, 100), "paper": (1, 10, 20, 30, 50, 100)}
PIXELS = {"quick": (16, 32), "default": (32, 64, 128), "paper": (32, 64, 128, 256, 512)}
MOST = 30  # images of GIAS below scale paper: a hundred copies of the generator take twelve minutes
SMALL, STATISTICS = 32, 0.1
BAR, HIGH_BAR = 0.1, 0.3  # of LPIPS, for batches and for resolutions
METHODS = ("G", "G+TV", "G+BN")
GENERATOR = "G+generator"  # of 32 pixels: for batches alone
EVERY = (*METHODS, GENERATOR)


def _attack(method: str, steps: int | None) -> tuple[GradientMatching, Knowledge]:
    """Return an attack and what its adversary knows."""
    if method == GENERATOR:
        return gia_l(steps), WITH_GENERATOR
    attack = gia_o(steps)
    if method == "G+TV":
        return attack, STRANGER
    terms = (Term(BatchNormStatistics(source="client"), weight=STATISTICS),) if method == "G+BN" else ()
    facts = STRANGER | Knowledge.BATCH_STATISTICS if terms else STRANGER
    return replace(attack, stages=(replace(attack.stages[0], terms=terms),)), facts


def _batch(method: str, size: int) -> str:
    return f"{method}, B {size}"


def _side(method: str, pixels: int) -> str:
    return f"{method}, {pixels} pixels"


def _cells(scale: str) -> tuple[Cell, ...]:
    found: list[Cell] = []
    for method in EVERY:
        attack, facts = _attack(method, STEPS[scale])
        plain = DesignCell("", attack, NETWORK[scale], 1, labels="uniform", knowledge=facts)
        small = min(SMALL, *PIXELS[scale][-1:])
        sizes = [size for size in BATCHES[scale] if scale == "paper" or method != GENERATOR or size <= MOST]
        found += [replace(plain, name=_batch(method, size), batch_size=size, size=small) for size in sizes]
        if method != GENERATOR:
            found += [replace(plain, name=_side(method, pixels), size=pixels) for pixels in PIXELS[scale]]
    return tuple(found)


def _curves(
    column: str, values: tuple[int, ...], name: Callable[[str, int], str], methods: tuple[str, ...] = METHODS
) -> tuple[StudyCurve, ...]:
    return tuple(
        StudyCurve(method, column, tuple((float(value), name(method, value)) for value in values)) for method in methods
    )


def _claims() -> tuple[Comparison, ...]:
    """Return the statements of the paper; LPIPS decides where its network is given."""
    found: list[Comparison] = []
    for method in METHODS:
        found += leaks_more(f"{method}: 100 images leak less than one", _batch(method, 1), _batch(method, 100))
        found += leaks_more(f"{method}: 30 images leak less than 10", _batch(method, 10), _batch(method, 30))
        found += [
            Comparison(
                f"{method}: works below 30 images, LPIPS under {BAR}", _batch(method, 10), "", "lpips", True, BAR
            ),
            Comparison(f"{method}: fails at 100 images, LPIPS over {BAR}", _batch(method, 100), "", "lpips", mark=BAR),
        ]
        for pixels in (PIXELS["default"][-1], 256):
            large = _side(method, pixels)
            found += leaks_more(f"{method}: {pixels} pixels leak less than 32", _side(method, 32), large)
            fails = f"{method}: fails at {pixels} pixels, LPIPS over {HIGH_BAR}"
            found.append(Comparison(fails, large, "", "lpips", mark=HIGH_BAR))
    found += leaks_more(f"{GENERATOR}: 100 images leak less than one", _batch(GENERATOR, 1), _batch(GENERATOR, 100))
    works = f"{GENERATOR}: works at 100 images, LPIPS under {BAR}"
    found.append(Comparison(works, _batch(GENERATOR, 100), "", "lpips", True, BAR))
    found += leaks_more(f"{GENERATOR} leaks more than G+TV, 30 images", _batch(GENERATOR, 30), _batch("G+TV", 30))
    for method in EVERY[1:]:
        found += leaks_more(f"{method} leaks more than G, 10 images", _batch(method, 10), _batch("G", 10))
    return tuple(found)


STUDY = Study(
    name="sok-figure-4",
    title="Batch size and resolution",
    paper=PAPER,
    about="One gradient of a network with BatchNorm, of batches of 1 to 100 images of 32 pixels, and of one image of "
    "growing resolution. G matches the gradient alone, G+TV has total variation, and G+BN knows the BatchNorm "
    "statistics of the batch. G+generator is GIAS, whose generator makes images of 32 pixels. "
    "Labels are drawn from all classes and granted.",
    cells={scale: _cells(scale) for scale in STEPS},
    repeats={"quick": 1, "default": 3, "paper": 10},
    tables=(LEAK_TABLE,),
    figures=(
        Figure("LPIPS over the batch size", "batch size", "LPIPS", _curves("lpips", BATCHES["paper"], _batch, EVERY)),
        Figure("Gain over the batch size", "batch size", "dB", _curves("gain", BATCHES["paper"], _batch, EVERY)),
        Figure("LPIPS over the resolution", "pixels", "LPIPS", _curves("lpips", PIXELS["paper"], _side)),
        Figure("Gain over the resolution", "pixels", "dB", _curves("gain", PIXELS["paper"], _side)),
    ),
    comparisons=_claims(),
    correlations=tuple(Correlation(f"entries for each pixel value against {leak}", "room", leak) for leak in LEAKS),
    caveats=(
        "The paper prints no numbers, and the stored text lacks the resolution from which all attacks fail. It reports "
        f"failure as LPIPS over {HIGH_BAR} for resolutions, and with a bar of {BAR} that attacks without a generator "
        "work below 30 images, and only those with one beyond.",
        "The paper attacks ResNet-18 on CIFAR-10, CIFAR-100 and ImageNet-1K. Scales quick and default attack the "
        "FedAvg CNN with BatchNorm in 10 and 80 steps, from which images come back in so few, unlike from an untrained "
        "ResNet-20, where one image of 32 pixels stays below the mean image. Its first linear layer has 33 million "
        "weights at 128 pixels. Scale paper attacks ResNet-18 in 4 800 steps. Resolutions say something "
        "only with images that have so many pixels: the built-in photographs have 224, and those of CIFAR are 32 "
        "pixels enlarged.",
        "With fewer shared entries than pixel values there are different batches with the same gradient (theorem 4.3 "
        "of the paper's second version): below 1 in the column of entries for each pixel value.",
        f"G+BN grants the batch's own statistics, at the weight of {STATISTICS} that Yin et al. (2021) report.",
        "The paper's generator is BigGAN, at every resolution; here a small DCGAN serves, and only for batches of 32 "
        f"pixels; of more than {MOST} images only at scale paper.",
        NEEDED,
    ),
)
