"""TabLeak (Vero, Balunović, Dimitrov & Vechev, ICML 2023): rows of a table, from an ensemble of relaxed guesses."""

from ..inversion.parts.gradient_transforms import Sign
from ..inversion.parts.labels import KnownLabels
from ..inversion.parts.objectives import Cosine
from ..inversion.parts.optimisers import Adam
from ..inversion.parts.parametrisations import TableRows
from ..inversion.parts.part import Stage
from ..inversion.parts.pools import TableMedian
from ..inversion.run.ensemble import Ensemble
from ..inversion.run.gradient_matching import GradientMatching

BEST = "compares iterates by the cosine distance and takes the lowest, where the authors' code takes the last"

MEMBER = GradientMatching(
    name="tableak-member",
    paper="arXiv:2210.01785",
    objective=Cosine(),
    labels=KnownLabels(),
    stages=(Stage(TableRows(decide=False), Adam(lr=0.06), steps=1_500, gradient=(Sign(),)),),
    deviations=(BEST,),
)
"""One run of the ensemble."""

ATTACK = Ensemble(
    name="tableak",
    paper="arXiv:2210.01785",
    attack=MEMBER,
    pool=TableMedian(),
    members=30,
    deviations=(
        BEST,
        "says how sure it is of a number by the mass within the tolerance, where the paper gives an entropy",
    ),
)
