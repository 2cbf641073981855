"""Sum of fourth powers."""

from dataclasses import dataclass

from gradaudit.inversion.parts.objectives import Objective


@dataclass(frozen=True)
class FourthPowers(Objective):
    """Σ (candidate - observed)⁴."""

    def __call__(self, candidate, observed, at):
        return sum((c - o).pow(4).sum() for c, o in zip(candidate, observed, strict=True))
