"""Mutual Gradient Inversion Attack (Liu, Cai, Li, Zhang & Guo, AAAI 2023 student abstract), and its two variants."""

from dataclasses import replace

from ..inversion.run.mutual import MutualInversion
from ..protocol.local_training import DistilledCrossEntropy, FedSGD
from ._demonstration import Demonstration, shortened
from .dlg import ATTACK as DLG

ALONE = replace(DLG, stages=tuple(replace(stage, steps=100) for stage in DLG.stages))
"""DLG in a hundred steps: each phase of MGIA, and the baseline of the paper."""

ATTACK = MutualInversion(
    name="mgia",
    paper="doi:10.1609/aaai.v37i13.26995",
    teacher=ALONE,
    student=ALONE,
    deviations=(
        "simulates the client's loss with the client's own formula, where the authors' code softens the teacher's "
        "labels twice, as Distillation(formula='published') does",
        *ALONE.deviations,
    ),
)

NO_KD = replace(ATTACK, name="mgia-no-kd", distillation=None, deviations=ALONE.deviations)

VARIANTS = (NO_KD,)

SPLICING = replace(ALONE, name="mgia-splicing", paper=ATTACK.paper)
"""The splicing baseline, for one network that takes image and text as the channels of one image (`SplicedClient`)."""

_SHORT = shortened(ALONE, 10, restarts=2)
_DISTILLED = Demonstration(
    replace(ATTACK, teacher=_SHORT, student=_SHORT),
    network="smooth",
    size=8,
    training=FedSGD(DistilledCrossEntropy()),
)
DEMONSTRATION = (
    _DISTILLED,
    replace(_DISTILLED, attack=replace(NO_KD, teacher=_SHORT, student=_SHORT), training=FedSGD()),
)
