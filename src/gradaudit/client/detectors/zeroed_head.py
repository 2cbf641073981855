"""Rows of a weight that are zero: the head of a fishing attack (Wen et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..received import FAN_IN, Received
from ._detector import Detector, Indicator, Places

NEARLY = 1e-3  # length of a row, as a share of the longest one, up to which it counts as zero
FEW = 4  # rows below which half of them says nothing


@dataclass(frozen=True)
class ZeroedHead(Detector):
    """At least half, but not all, rows of a weight are zero: below a thousandth of its longest row.

    Class fishing sets the rows of all classes but one to zero, so that only the examples of that class have a gradient.
    A weight that is zero as a whole is a usual start (torchvision's Vision Transformers), and is not this sign: then no
    gradient reaches what comes before it in the first step.

    Args:
        share: Share of zero rows.
    """

    paper: ClassVar[str] = "arXiv:2202.00580"
    sign: ClassVar[str] = (
        "Most rows of {where}, but not all, are zero, as in the head of a fishing attack: only few examples of "
        "a batch have a gradient."
    )
    none: ClassVar[str] = "No weight with 4 rows and a fan-in of 64 has mostly zero rows beside others."
    blind: ClassVar[str] = "no weight has 4 rows and a fan-in of 64"
    share: float = 0.5

    def places(self, received: Received) -> Places:
        """Yield the share of zero rows of every weight that is not zero as a whole."""
        for name, value in received.weights.items():
            if value.ndim < 2 or len(value) < FEW or value[0].numel() < FAN_IN:
                continue
            length = value.flatten(1).norm(dim=1)
            zero = float((length <= NEARLY * length.max()).double().mean())
            yield name, (Indicator("share of zero rows", zero if length.any() else 0.0, self.share, (0.0, 0.01)),)
