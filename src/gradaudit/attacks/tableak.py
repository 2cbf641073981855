"""TabLeak (Vero, Balunović, Dimitrov & Vechev, ICML 2023): rows of a table, from an ensemble of relaxed guesses."""

from ..inversion.attack import Stage
from ..inversion.ensemble import Ensemble
from ..inversion.gradient_transforms import Sign
from ..inversion.labels import KnownLabels
from ..inversion.match import GradientMatching
from ..inversion.objectives import Cosine
from ..inversion.optimisers import Adam
from ..inversion.parametrisations import TableRows
from ..inversion.pools import TableMedian

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
