"""TabLeak's pooling: the median of every entry over rows matched to the best run, and how far the runs agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ....protocol.observation import Observation
from ....values.columns import TableLayout
from ....values.errors import AttackFailed
from ....values.types import Reconstruction
from ..parametrisations.table_rows import decided, require_table
from ._pool import Pool, Pooled


@dataclass(frozen=True)
class TableMedian(Pool):
    """The pooled reconstruction of TabLeak with its uncertainty (Vero et al., 2023, arXiv:2210.01785, 4.2 and 4.3).

    A gradient does not reveal the order of its rows, so each member's rows are assigned to those of the best member
    such that the fewest cells differ: by another category, or by numbers further apart than `tolerance`. Then every
    entry of the encoded rows is the median over the members, and the category is the largest entry of its column.

    The confidence of a categorical cell is 1 - H(p) / log(width), where p is the pooled column over its sum: one minus
    the paper's normalised entropy. That of a number is erf(tolerance / (s √2)), where s is the standard deviation over
    the
    members: the mass of a normal distribution within the tolerance of its mean. Deviation: the paper uses the
        differential entropy of that distribution, which is unbounded; both change monotonically with s.

    Args:
        tolerance: Largest distance at which two numbers count as equal, in standard deviations of their column;
            positive.

    Raises:
        AttackFailed: The tolerance is not positive.
    """

    tolerance: float = 0.319

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance > 0:
            raise AttackFailed(f"TableMedian: tolerance must be positive. Found {self.tolerance}.")

    def bind(self, seen: Observation) -> Callable[[Sequence[Reconstruction]], Pooled]:
        """Return the pooling function for these columns. Raise `AttackFailed` if the data is not a table."""
        return partial(self._pool, require_table(seen, self))

    def _pool(self, layout: TableLayout, members: Sequence[Reconstruction]) -> Pooled:
        best = members[0]
        rows = torch.stack([self._reordered(member.inputs, best.inputs, layout) for member in members])
        pooled = rows.median(0).values  # for an even number of members, the lower of the two middle values
        return Pooled(decided(pooled, layout), best.labels, self._confidence(rows, pooled, layout))

    def _reordered(self, rows: Tensor, best: Tensor, layout: TableLayout) -> Tensor:
        mine, theirs = (decided(side, layout) for side in (rows, best))
        differ = torch.zeros(len(best), len(rows), device=rows.device)
        for column, place in zip(layout.columns, layout.slices, strict=True):
            gap = (theirs[:, None, place] - mine[None, :, place]).abs().amax(-1)
            differ += gap > (0.5 if column.categorical else self.tolerance)
        return rows[torch.from_numpy(linear_sum_assignment(differ.cpu().numpy())[1]).to(rows.device)]

    def _confidence(self, rows: Tensor, pooled: Tensor, layout: TableLayout) -> Tensor:
        found = []
        for column, place in zip(layout.columns, layout.slices, strict=True):
            if column.categorical:
                found.append(1 - _entropy(pooled[:, place]))
            else:
                spread = rows[:, :, place].squeeze(-1).std(0, correction=min(1, len(rows) - 1))
                found.append(torch.erf(self.tolerance / (math.sqrt(2) * spread)))
        return torch.stack(found, -1)


def _entropy(weights: Tensor) -> Tensor:
    """Return the entropy of `[B, width]` weights over their sum, as a fraction of the maximum; 0 for width 1."""
    if weights.shape[-1] == 1:
        return torch.zeros_like(weights[..., 0])
    tiny = torch.finfo(weights.dtype).tiny * weights.shape[-1]
    weights = weights.clamp_min(0) + tiny
    shares = weights / weights.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1) / math.log(weights.shape[-1])
