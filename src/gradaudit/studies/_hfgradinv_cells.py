"""What the studies of HFGradInv share: its network, its sizes, and the steps that each scale takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..attacks.dlg import ATTACK as DLG
from ..attacks.gradinversion import ATTACK as GRADINVERSION
from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ..attacks.inverting_gradients import ATTACK as INVERTING_GRADIENTS
from ..inversion.run.gradient_matching import GradientMatching
from ._attack_cell import AttackCell

PAPER = "HFGradInv (Ye et al., AAAI 2024)"
STEPS = {"quick": 40, "default": 300, "long": 800}
REPEATS = {"quick": 2, "default": 8, "long": 8, "paper": 13}
SETTING = (
    "The paper: ResNet-34 with torchvision's ImageNet weights, 224 pixels, batches of 8, 15 000 steps, a hundred "
    "pictures. Scale default: an untrained ResNet-20 on the 32-pixel pictures at hand, batches of 4, 300 steps; long "
    "takes 800. Scale paper is the paper's own size, with --weights resnet34=torchvision and its pictures."
)


def shorter(attack: GradientMatching, steps: int) -> GradientMatching:
    """The same with `steps` evaluations in its only stage; what it times is in fractions of the stage."""
    stage = attack.stages[0]
    return replace(attack, stages=(replace(stage, steps=max(2, steps // stage.optimiser.evaluations)),))


def cells(
    attacks: Mapping[str, GradientMatching],
    scales: Iterable[str] = ("quick", "default", "long", "paper"),
    **setting: object,
) -> dict[str, tuple[AttackCell, ...]]:
    """The same rows at every scale.

    Args:
        attacks: Name of a row -> attack.
        scales: Which are offered.
        setting: Fields of the cells but at scale `paper`, whose network, batch and weights are the paper's.
    """
    found = {}
    for scale in scales:
        chosen = {"network": "resnet34", "batch_size": 8, "trained": True} if scale == "paper" else setting
        found[scale] = tuple(
            AttackCell(name, attack if scale == "paper" else shorter(attack, STEPS[scale]), **chosen)  # type: ignore[arg-type]
            for name, attack in attacks.items()
        )
    return found


FOUR: dict[str, GradientMatching] = {
    "DLG": DLG,
    "Inverting Gradients": INVERTING_GRADIENTS,
    "GradInversion": replace(GRADINVERSION, seeds=2),  # eight guesses cost eight times one; two must agree, too
    "HFGradInv": HFGRADINV,
}
