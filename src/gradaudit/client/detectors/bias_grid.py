"""Biases that are sorted like the quantiles of a distribution: the bins of an imprint layer (Fowl et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..received import ROWS, Received
from ._detector import Detector, Indicator, Places


@dataclass(frozen=True)
class BiasGrid(Detector):
    """At least 95 % of the steps between biases go one way, and the biases follow the quantiles of a normal.

    The biases of an imprint layer are the borders of its bins, in order: quantiles of a normal or Laplace distribution.
    Those of an honest layer are in no order, and where they are all 0, they have no steps.

    Args:
        steps: Share of the steps between neighbours that go the more frequent way.
        correlation: Absolute correlation of the biases with the normal quantiles (i + 1/2) / n.
    """

    paper: ClassVar[str] = "arXiv:2110.13057"
    sign: ClassVar[str] = "The biases {where} are a sorted grid of quantiles, as the bins of an imprint layer are."
    none: ClassVar[str] = "No layer with 32 biases has them in the order of quantiles."
    blind: ClassVar[str] = "no layer has 32 biases"
    steps: float = 0.95
    correlation: float = 0.95

    def places(self, received: Received) -> Places:
        """Yield both numbers of every bias of a weight with 32 rows or more."""
        for name, bias in biases(received).items():
            sorted_share, correlation = grid(bias)
            yield (
                name,
                (
                    Indicator("share of steps that go one way", sorted_share, self.steps, (0.0, 0.57)),
                    Indicator("correlation with normal quantiles", correlation, self.correlation, (0.0, 0.38)),
                ),
            )


def biases(received: Received) -> dict[str, Tensor]:
    """Return name -> bias `[n]` of the weights of two or more dimensions with at least 32 rows."""
    found = {}
    for name, value in received.weights.items():
        bias = name.removesuffix("weight") + "bias"
        beside = received.weights.get(bias) if name.endswith("weight") and value.ndim > 1 else None
        if beside is not None and beside.ndim == 1 and len(beside) >= ROWS:
            found[bias] = beside
    return found


def grid(bias: Tensor) -> tuple[float, float]:
    """Return the share of steps that go the more frequent way, and |r| with the normal quantiles.

    Args:
        bias: `[n]`.
    """
    steps = bias.double().diff()
    share = max(float((steps > 0).double().mean()), float((steps < 0).double().mean()))
    places = (torch.arange(len(bias), dtype=torch.float64) + 0.5) / len(bias)
    pair = torch.stack([bias.double(), torch.special.ndtri(places)])
    spread = pair.std(1)
    return share, abs(float(torch.corrcoef(pair)[0, 1])) if bool((spread > 0).all()) else 0.0
