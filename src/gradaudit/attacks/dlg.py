"""Deep Leakage from Gradients (Zhu, Liu & Han, NeurIPS 2019): optimise inputs and labels until the gradients match."""

from ..inversion.parts.labels.joint import JointLabels
from ..inversion.parts.objectives.euclidean import Euclidean
from ..inversion.parts.optimisers.lbfgs import LBFGS
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="dlg",
    paper="arXiv:1906.08935",
    objective=Euclidean(),
    labels=JointLabels(),
    stages=(Stage(Pixels(box=False), LBFGS(lr=1.0), steps=300),),
    deviations=(
        "returns the iterate with the lowest gradient distance, where the authors' code returns the last",
        "all examples of a batch are updated together, where the paper updates one per step",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 15, restarts=3), network="smooth", size=8)
