"""The parts of gradient inversion and the one loop that runs them. Blind: nothing here can see private data."""

from . import gradient_transforms, labels, match, objectives, optimisers, parametrisations, priors
from .attack import Stage, Term
from .levenberg_marquardt import LevenbergMarquardt


def part_names() -> dict[str, type]:
    """Constructors by name: all that the `repr` of an attack may hold, so that it evaluates to the attack again."""
    rooms = (objectives, priors, parametrisations, gradient_transforms, labels)
    parts = {
        name: getattr(room, name) for room in rooms for name in room.__all__ if not name.isupper() or name in _UPPER
    }
    own = {
        cls.__name__: cls
        for cls in (match.GradientMatching, Stage, Term, optimisers.Adam, optimisers.LBFGS, LevenbergMarquardt)
    }
    return {**parts, **own}


_UPPER = {"L1", "L2", "IDLG"}  # classes with an upper-case name, unlike the tables beside them
