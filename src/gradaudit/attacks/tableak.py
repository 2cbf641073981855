"""TabLeak (Vero, Balunović, Dimitrov & Vechev, ICML 2023): rows of a table, from an ensemble of relaxed candidates."""

from dataclasses import replace

from ..inversion.parts.gradient_transforms.sign import Sign
from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.table_rows import TableRows
from ..inversion.parts.part import Stage
from ..inversion.parts.pools.table_median import TableMedian
from ..inversion.run.ensemble import Ensemble
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

BEST = "compares iterates by the cosine distance and returns the lowest, where the authors' code returns the last"

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
        "the confidence of a number is the mass within the tolerance, where the paper gives an entropy",
    ),
)

DEMONSTRATION = Demonstration(
    replace(ATTACK, attack=shortened(MEMBER, 120), members=2), network="tabular-mlp", examples=2, least=0.4
)
