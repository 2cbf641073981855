"""Deep Leakage from Gradients (Zhu, Liu & Han, NeurIPS 2019): inputs and labels, until the gradients are equal."""

from ..inversion.attack import Stage
from ..inversion.labels import JointLabels
from ..inversion.match import GradientMatching
from ..inversion.objectives import Euclidean
from ..inversion.optimisers import LBFGS
from ..inversion.parametrisations import Pixels

ATTACK = GradientMatching(
    name="dlg",
    paper="arXiv:1906.08935",
    objective=Euclidean(),
    labels=JointLabels(),
    stages=(Stage(Pixels(box=False), LBFGS(lr=1.0), steps=300),),
    deviations=(
        "returns the iterate with the lowest gradient distance, where the authors' code returns the last",
        "all examples of a batch move together, where the paper updates one per step",
    ),
)
