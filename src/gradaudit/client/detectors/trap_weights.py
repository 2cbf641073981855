"""Rows in which every positive weight has a negative partner: trap weights (Boenisch et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..received import Received
from ._detector import Detector, Indicator, Places

EVEN, AWAY = 0.02, 0.01


@dataclass(frozen=True)
class TrapWeights(Detector):
    """In at least half of the rows, the sorted negative and positive weights have one constant ratio that is not 1.

    Trap weights are negative in a random half of a row, and the other half holds the same magnitudes times a factor
    such as 0.95, so that few examples activate a unit. A row counts if it has as many negative as positive entries, the
    ratio of their sorted magnitudes varies by less than 2 % (standard deviation over mean), and its mean is further
    than 1 % from 1. The ratio of an honest row with a large fan-in is constant too, but 1.

    Args:
        share: Share of such rows.
    """

    paper: ClassVar[str] = "arXiv:2112.02918"
    sign: ClassVar[str] = (
        "The weights of {where} come in pairs of opposite sign and one constant ratio, as trap weights do: few "
        "examples activate a unit, and those leave exactly."
    )
    none: ClassVar[str] = "No weight with 32 rows and a fan-in of 64 consists of pairs of opposite sign."
    blind: ClassVar[str] = "no weight has 32 rows and a fan-in of 64"
    share: float = 0.5

    def places(self, received: Received) -> Places:
        """Yield the share of such rows of every weight."""
        for name, matrix in received.matrices.items():
            yield name, (Indicator("share of paired rows", paired(matrix), self.share, (0.0, 0.0)),)


def paired(matrix: Tensor) -> float:
    """Return the share of rows whose negative and positive magnitudes, sorted, have one ratio that is not 1.

    Args:
        matrix: `[rows, fan-in]`.
    """
    half = matrix.shape[1] // 2
    ordered = matrix.double().sort(1).values
    low, high = -ordered[:, :half], ordered[:, matrix.shape[1] - half :].flip(1)  # both from the largest magnitude
    ratio = high / low
    mean = ratio.mean(1)
    even = ratio.std(1) < EVEN * mean  # false for a negative mean, where one side has both signs, and for zeros
    return float((even & ((mean - 1).abs() > AWAY)).double().mean())
