"""Improved DLG (Zhao, Mopuri & Bilen, 2020): DLG with the label of a single example inferred from the gradient."""

from dataclasses import replace

from ..inversion.parts.labels.label_of_one import IDLG
from . import dlg
from ._demonstration import Demonstration, shortened

ATTACK = replace(
    dlg.ATTACK,
    name="idlg",
    paper="arXiv:2001.02610",
    labels=IDLG(),
    stages=tuple(replace(stage, stop_below=1e-6) for stage in dlg.ATTACK.stages),
    deviations=("returns the iterate with the lowest gradient distance, where the authors' code returns the last",),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 20, restarts=5))
