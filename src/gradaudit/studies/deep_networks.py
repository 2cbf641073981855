"""What the strongest composition of known parts reads from deep networks, untrained and trained."""

from __future__ import annotations

from dataclasses import replace

from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..attacks.inverting_gradients_deep import ATTACK as INVERTING_GRADIENTS_DEEP
from ..inversion.attack import Attack
from ..inversion.run.gradient_matching import GradientMatching
from ._attack_cell import SCORES, SMALLER
from ._deep_cells import SOLVERS, BasinCell, DeepCell
from ._definition import Cell, Comparison, Study, Table
from ._generator_rows import NEEDED, gi_pip
from ._sok_cells import WITH_GENERATOR

IG, DEEP, GAP = "Inverting Gradients", "coarse to fine with features", "residual R-GAP"
PIP, STARTS = "GI-PIP", "four starts"
RADII = (0.0, 0.1, 0.3, 1.0)
BASIN: dict[str, object] = {"trained": True, "pick": "unsure", "batch_size": 1}
SETTINGS: dict[str, dict[str, object]] = {
    "ResNet-18, B 1": {"network": "resnet18", "batch_size": 1},
    "ResNet-18, B 4": {"network": "resnet18", "batch_size": 4},
    "ResNet-18, B 8": {"network": "resnet18", "batch_size": 8},
    "ResNet-20, B 1": {"network": "resnet20", "batch_size": 1},
    "ResNet-20, B 4": {"network": "resnet20", "batch_size": 4},
    "ResNet-20, B 8": {"network": "resnet20", "batch_size": 8},
    "trained ResNet-20, sure, B 1": {"trained": True, "pick": "sure", "batch_size": 1},
    "trained ResNet-20, unsure, B 1": {"trained": True, "pick": "unsure", "batch_size": 1},
    "trained ResNet-20, sure, B 4": {"trained": True, "pick": "sure", "batch_size": 4},
    "trained ResNet-20, unsure, B 4": {"trained": True, "pick": "unsure", "batch_size": 4},
    "EfficientNet-Lite0, 224 px, B 1": {
        "network": "efficientnet-lite0",
        "trained": True,
        "batch_size": 1,
        "side": 224,
    },
}


RESNET_18 = tuple(name for name, fields in SETTINGS.items() if fields.get("network") == "resnet18")
TRAINED = tuple(name for name, fields in SETTINGS.items() if "pick" in fields)


def spread(attack: GradientMatching, steps: int) -> GradientMatching:
    """Return the attack with so many steps in all, in equal shares for its stages."""
    share = max(1, round(steps / len(attack.stages)))
    return replace(attack, stages=tuple(replace(stage, steps=share) for stage in attack.stages))


def _name(attack: str, setting: str) -> str:
    return f"{attack}, {setting}"


def _cells(wide: int, slim: int, large: int, gap: Attack) -> tuple[Cell, ...]:
    """Return the attacks in each setting, the first two with equal steps, and the starts near the truth.

    Args:
        wide: Number of steps on ResNet-18.
        slim: Number of steps on ResNet-20.
        large: Number of steps on 224-pixel images.
        gap: The attack that solves the layers of ResNet-18.
    """
    attacks = {IG: INVERTING_GRADIENTS, DEEP: INVERTING_GRADIENTS_DEEP}
    steps = {"resnet18": wide, "efficientnet-lite0": large}
    rows = [
        DeepCell(_name(name, setting), spread(attack, steps.get(str(fields.get("network")), slim)), **fields)  # type: ignore[arg-type]
        for setting, fields in SETTINGS.items()
        for name, attack in attacks.items()
    ]
    rows += [DeepCell(_name(GAP, setting), gap, **SETTINGS[setting]) for setting in RESNET_18]  # type: ignore[arg-type]
    for setting in TRAINED:
        fields = SETTINGS[setting]
        four = replace(spread(INVERTING_GRADIENTS, max(1, slim // 4)), restarts=4)
        rows.append(DeepCell(_name(STARTS, setting), four, **fields))  # type: ignore[arg-type]
        rows.append(DeepCell(_name(PIP, setting), gi_pip(slim), knowledge=WITH_GENERATOR, **fields))  # type: ignore[arg-type]
    near = spread(INVERTING_GRADIENTS, max(1, slim // 3))
    return (*rows, *(BasinCell(_near(radius), near, radius=radius, **BASIN) for radius in RADII))  # type: ignore[arg-type]


def _near(radius: float) -> str:
    return f"start {radius:g} from the truth"


STUDY = Study(
    name="deep-networks",
    title="Deep networks, untrained and trained",
    paper="none: Inverting Gradients (arXiv:2003.14053) against the strongest composition of parts found here",
    about="Inverting Gradients and inverting-gradients-deep take equal numbers of steps on the same batches, which "
    "cost equal CPU seconds to about a tenth. The second one begins at a quarter of the resolution and also matches "
    "the features before the classifier, which the gradient of the last layer contains. residual-r-gap solves the "
    "layers of ResNet-18 one after another, in fewer seconds than either. On the trained network four starts share the "
    "steps, and GI-PIP adds an auto-encoder to the prior. Of twenty images of a class, sure is the "
    "one with the lowest loss, unsure the one with the highest. The last rows start Inverting Gradients at the ground "
    "truth plus noise, which no adversary can, to measure what its objective says there.",
    cells={
        "quick": _cells(12, 12, 3, SOLVERS["quick"]),
        "default": _cells(150, 150, 20, SOLVERS["default"]),
        "paper": _cells(*[4_800] * 3, SOLVERS["paper"]),
    },
    repeats={"quick": 2, "default": 6, "paper": 12},
    tables=(
        Table("Reconstructed images", {**SCORES, "objective": "objective"}, best="column", smaller=SMALLER),
        Table(
            "Starts near the ground truth: trained ResNet-20, unsure, B 1",
            {"PSNR of the start, dB": "start", "objective at the start": "objective.start"},
            digits=3,
            best="column",
            smaller=("objective.start",),
        ),
    ),
    comparisons=(
        *(
            Comparison(f"coarse to fine reads more, {setting}", _name(DEEP, setting), _name(IG, setting), "psnr")
            for setting in SETTINGS
        ),
        *(
            Comparison(f"{name} reads more, {setting}", _name(name, setting), _name(IG, setting), "psnr")
            for name, settings in ((GAP, RESNET_18), (STARTS, TRAINED), (PIP, TRAINED))
            for setting in settings
        ),
    ),
    caveats=(
        "Use --data cifar10_train.npz --weights resnet20=cifar10_resnet20.npz for the rows of 32 pixels, and --data "
        "imagenet_samples_224.npz --weights efficientnet-lite0=efficientnet_lite0_imagenet.npz in another folder for "
        "those of 224 pixels.",
        "BatchNorm is in evaluation mode. Untrained networks then do not normalise at all: the gradient of "
        "torchvision's ResNet-18 has an ordinary size, that of the ResNet-20 of He et al. is very large.",
        "150 steps are far from convergence; scale paper takes as many steps as Inverting Gradients.",
        NEEDED,
        "EfficientNet-Lite0 gets ImageNet's usual normalisation, which is not the one that it was trained with.",
    ),
)
