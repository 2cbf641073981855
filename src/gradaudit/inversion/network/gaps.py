"""Separate two clusters of magnitudes by the widest gap between them.

No fixed threshold suits every noise level.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class GapSplit(NamedTuple):
    """The position of the gap in a sorted list of magnitudes.

    Args:
        count: Number of values before the gap, at least 1.
        ratio: Larger over smaller neighbour at the gap, at least 1; the larger the ratio, the clearer the gap.
        threshold: Geometric mean of the two neighbours.
    """

    count: int
    ratio: float
    threshold: float


def widest_gap(values: Tensor, *, least: int = 1, most: int | None = None, descending: bool = False) -> GapSplit:
    """Return the widest gap between neighbours of the sorted values, on a logarithmic scale.

    Args:
        values: `[n]`, not negative, n at least 2; zeros count as the smallest normal number.
        least: Smallest number of values that may lie before the gap.
        most: Largest number of values that may lie before the gap, at least `least`; n - 1 by default.
        descending: Whether the values are sorted in descending order, so that the large ones lie before the gap.
    """
    tiny = torch.finfo(values.dtype).tiny
    logs = values.clamp_min(tiny).log().sort(descending=descending).values
    steps = (logs[1:] - logs[:-1]).abs()
    at = int(steps[least - 1 : most].argmax()) + least - 1
    return GapSplit(at + 1, float(steps[at].exp()), float(((logs[at] + logs[at + 1]) / 2).exp()))
