"""Telling two clusters of magnitudes apart by the gap between them, where no fixed threshold fits every noise."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class GapSplit(NamedTuple):
    """Where a descending or ascending list of magnitudes breaks.

    Args:
        count: Values before the gap, at least 1.
        ratio: Larger over smaller neighbour at the gap, at least 1: how clear the gap is.
        threshold: Geometric mean of the two neighbours.
    """

    count: int
    ratio: float
    threshold: float


def widest_gap(values: Tensor, *, least: int = 1, most: int | None = None, descending: bool = False) -> GapSplit:
    """The widest gap on a logarithmic scale between neighbours of the sorted values.

    Args:
        values: `[n]`, not negative, n at least 2; zeros count as the smallest normal number.
        least: Fewest values that may lie before the gap.
        most: Most values that may lie before the gap, at least `least`; n - 1 by default.
        descending: The values before the gap are the large ones instead of the small ones.
    """
    tiny = torch.finfo(values.dtype).tiny
    logs = values.clamp_min(tiny).log().sort(descending=descending).values
    steps = (logs[1:] - logs[:-1]).abs()
    at = int(steps[least - 1 : most].argmax()) + least - 1
    return GapSplit(at + 1, float(steps[at].exp()), float(((logs[at] + logs[at + 1]) / 2).exp()))
