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
    """At least half of the rows of a weight have a twin (|cos| > 0.99), and one direction holds its energy.

    An imprint layer measures the same linear function of the input in all its units, so that its rows are multiples of
    one vector: a mean, a wave of the DCT, or a random vector. The energy is the share of the largest squared singular
    value. The twins alone are no sign: a trained depthwise convolution has many.

    Args:
        share: Share of rows with a twin.
        energy: Share of the largest squared singular value in their sum.
    """

    paper: ClassVar[str] = "arXiv:2110.13057"
    sign: ClassVar[str] = (
        "The rows of {where} are multiples of one vector, as in an imprint layer: the differences of their gradients "
        "are private examples."
    )
    none: ClassVar[str] = "The rows of every weight point in different directions."
    blind: ClassVar[str] = "no weight has 32 rows and a fan-in of 64"
    share: float = 0.5
    energy: float = 0.95

    def places(self, received: Received) -> Places:
        """Yield both shares of every weight."""
        for name, matrix in received.matrices.items():
            share, energy = twins(matrix)
            yield (
                name,
                (
                    Indicator("share of rows with a twin", share, self.share, (0.0, 0.04)),
                    Indicator("energy of one direction", energy, self.energy, (0.0, 0.36)),
                ),
            )


def twins(matrix: Tensor) -> tuple[float, float]:
    """Return the share of rows with a twin, and the share of the largest squared singular value.

    Args:
        matrix: `[rows, fan-in]`.
    """
    matrix = matrix / matrix.abs().max().clamp_min(1e-30)
    gram = (matrix @ matrix.T).double()
    length = gram.diagonal().clamp_min(0).sqrt()
    unit = gram / (length[:, None] * length[None, :]).clamp_min(1e-30)
    alike = (unit.abs() > ALIKE).fill_diagonal_(False)
    total = float(gram.diagonal().sum())
    largest = float(torch.linalg.eigvalsh(gram)[-1]) if total > 0 else 0.0
    return float(alike.any(1).double().mean()), largest / total if total > 0 else 0.0
