"""What the studies of HFGradInv share: the network, the batch sizes, and the number of steps of each scale."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..attacks.dlg import ATTACK as DLG
from ..attacks.gradinversion import ATTACK as GRADINVERSION
from ..attacks.hfgradinv import ATTACK as HFGRADINV
from ..attacks.inverting_gradients import EXACT as INVERTING_GRADIENTS
from ..inversion.run.gradient_matching import GradientMatching
from ._attack_cell import AttackCell

PAPER = "HFGradInv (Ye et al., AAAI 2024)"
STEPS = {"quick": 40, "default": 300, "long": 800}
REPEATS = {"quick": 2, "default": 8, "long": 8, "paper": 13}
SETTING = (
    "The paper uses ResNet-34 with torchvision's ImageNet weights, 224-pixel images, batches of 8, 15 000 steps and a "
    "hundred images. Scale default uses an untrained ResNet-20 on the available 32-pixel images, batches of 4 and 300 "
    "steps; scale long uses 800 steps. Scale paper has the paper's sizes, with --weights resnet34=torchvision."
)


def shorter(attack: GradientMatching, steps: int) -> GradientMatching:
    """Return the attack with `steps` evaluations in its only stage; its schedule is in fractions of the stage."""
    stage = attack.stages[0]
    return replace(attack, stages=(replace(stage, steps=max(2, steps // stage.optimiser.evaluations)),))


def cells(
    attacks: Mapping[str, GradientMatching],
    scales: Iterable[str] = ("quick", "default", "long", "paper"),
    **setting: object,
) -> dict[str, tuple[AttackCell, ...]]:
    """Return the same rows at every scale.

    Args:
        attacks: Name of a row -> attack.
        scales: The scales.
        setting: Fields of the cells, except at scale `paper`, which has the paper's network, batch size and weights.
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
    "GradInversion": replace(
        GRADINVERSION, seeds=2
    ),  # eight candidates cost eight times as much; two also show the consistency term
    "HFGradInv": HFGRADINV,
}
