"""The parts of gradient inversion and the one loop that runs them. Blind: nothing here can see private data."""

from .parts import (
    gradient_transforms,
    labels,
    moves,
    objectives,
    optimisers,
    parametrisations,
    pools,
    priors,
    simulations,
)
from .parts.levenberg_marquardt import LevenbergMarquardt
from .parts.part import Stage, Term
from .run import ensemble, mutual
from .run import gradient_matching as match


def part_names() -> dict[str, type]:
    """Constructors by name: all that the `repr` of an attack may hold, so that it evaluates to the attack again."""
    rooms = (objectives, priors, parametrisations, gradient_transforms, labels, moves, pools, simulations)
    parts = {
        name: getattr(room, name) for room in rooms for name in room.__all__ if not name.isupper() or name in _UPPER
    }
    own = {
        cls.__name__: cls
        for cls in (
            match.GradientMatching,
            ensemble.Ensemble,
            Stage,
            Term,
            optimisers.Adam,
            optimisers.LBFGS,
            LevenbergMarquardt,
            optimisers.RMSprop,
            mutual.MutualInversion,
            mutual.Distillation,
        )
    }
    return {**parts, **own}


_UPPER = {"L1", "L2", "IDLG"}  # classes with an upper-case name, unlike the tables beside them
