"""Rows of a weight with one dominant direction: an imprint layer (Fowl et al., 2022; LOKI; PEFTLeak)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..received import Received
from ._detector import Detector, Indicator, Places

ALIKE = 0.99  # cosine from which two rows are twins


@dataclass(frozen=True)
class TwinRows(Detector):
    """At least half of the rows of a weight have a twin (|cos| > 0.99), and one direction holds half of their energy.

    An imprint layer measures the same linear function of the input in all its units, so that its rows are multiples of
    one vector: a mean, a wave of the DCT, or a random vector. The energy is the share of the largest squared singular
    value, with every row at length 1, so that a few long rows hide nothing. The twins alone are no sign in a small
    fan-in: a trained depthwise convolution has many.

    Args:
        share: Share of rows with a twin.
        energy: Share of the largest squared singular value in their sum.
    """

    paper: ClassVar[str] = "arXiv:2110.13057"
    sign: ClassVar[str] = (
        "The rows of {where} are multiples of one vector, as in an imprint layer: the differences of their gradients "
        "are private examples."
    )
    none: ClassVar[str] = "The rows of every weight with 32 rows and a fan-in of 64 point in different directions."
    blind: ClassVar[str] = "no weight has 32 rows and a fan-in of 64"
    share: float = 0.5
    energy: float = 0.5

    def places(self, received: Received) -> Places:
        """Yield both shares of every weight."""
        for name, matrix in received.matrices.items():
            share, energy = twins(matrix)
            yield (
                name,
                (
                    Indicator("share of rows with a twin", share, self.share, (0.0, 0.043)),
                    Indicator("energy of one direction", energy, self.energy, (0.0, 0.23)),
                ),
            )


def twins(matrix: Tensor) -> tuple[float, float]:
    """Return the share of rows with a twin, and the share of the largest squared singular value of the unit rows.

    Args:
        matrix: `[rows, fan-in]`; rows of zeros have no direction.
    """
    length = matrix.norm(dim=1)
    unit = matrix[length > 0] / length[length > 0].unsqueeze(1)
    if not len(unit):
        return 0.0, 0.0
    cosines = (unit @ unit.T).double()
    alike = (cosines.abs() > ALIKE).fill_diagonal_(False)
    share = float(alike.any(1).double().sum()) / len(matrix)
    return share, float(torch.linalg.eigvalsh(cosines)[-1]) / len(unit)
