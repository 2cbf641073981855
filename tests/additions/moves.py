"""A pull towards zero."""

from dataclasses import dataclass

from gradaudit.inversion.parts.moves import Move


@dataclass(frozen=True)
class Shrink(Move):
    """Every variable loses a thousandth of itself."""

    def __call__(self, candidate, score, at):
        for variable in candidate.variables.values():
            variable.mul_(0.999)
