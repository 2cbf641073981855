"""The inputs of a linear layer that quotients of its gradients reveal: clusters of equal rows, and single rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..inversion.network.first_linear import FirstLinear

ROWS, CELLS = 1_024, 2**26  # largest number of neurons that are compared, and of entries of their quotients
ALIVE = 1e-7  # smallest bias gradient that is divided by, as a share of the largest
APART = 0.1  # recurring rows are closer than this share of the median distance of all rows


class Quotients(NamedTuple):
    """The quotients of the neurons with a gradient.

    Args:
        neurons: `[r]` integers, the largest bias gradient first.
        rows: `[r, n]`, ∂W_i / ∂b_i.
        divisors: `[r]`, ∂b_i.
    """

    neurons: Tensor
    rows: Tensor
    divisors: Tensor

    def mean(self, at: Tensor) -> Tensor:
        """Return the input `[n]` that fits the gradients of the rows `at` best: the mean with the weights ∂b_i²."""
        weights = self.divisors[at].square()
        return weights @ self.rows[at] / weights.sum()


class Revealed(NamedTuple):
    """An input that may be one example.

    Args:
        inputs: `[n]`.
        neurons: The neurons whose quotient it is.
        recurs: Whether neurons with different weights share it.
    """

    inputs: Tensor
    neurons: Tensor
    recurs: bool


def quotients(weight: Tensor, bias: Tensor, rounding: float, same: float) -> Quotients:
    """Return the quotients that rounding leaves intact, at most `ROWS`.

    Args:
        weight: Gradient of the weight, `[m, n]`, finite.
        bias: Gradient of the bias, `[m]`, finite and not zero.
        rounding: Absolute rounding error of one entry.
        same: Relative distance up to which quotients are equal.
    """
    alive = (bias.abs() > ALIVE * bias.abs().max()).nonzero().flatten()
    most = max(1, min(ROWS, CELLS // weight.shape[1]))
    alive = alive[bias[alive].abs().argsort(descending=True)][:most]
    rows = weight[alive] / bias[alive].unsqueeze(1)
    length = rows.norm(dim=1)
    blur = rounding * (rows.shape[1] ** 0.5 + length) / (bias[alive].abs() * length).clamp_min(1e-300)
    clear = blur <= same if (blur <= same).any() else blur == blur.min()
    return Quotients(alive[clear], rows[clear], bias[alive][clear])


def candidates(found: Quotients, own: Tensor, same: float) -> list[Revealed]:
    """Return the rows that recur, those of most neurons first, then all other rows, the farthest from the mean first.

    A row that is a mixture of several examples has other weights in every neuron, so that it does not recur.

    Args:
        found: The quotients.
        own: Weight and bias of every neuron of the layer, `[m, n + 1]`: equal neurons count once.
        same: Relative distance up to which quotients are equal.
    """
    apart = torch.cdist(found.rows, found.rows, compute_mode="donot_use_mm_for_euclid_dist")
    length = found.rows.norm(dim=1)
    near = same * torch.minimum(length.unsqueeze(0), length.unsqueeze(1))
    if not (apart <= near).all():
        near = near.clamp_max(APART * float(apart[apart > near].median()))
    equal, free, clusters = apart <= near, torch.ones(len(length), dtype=torch.bool), []
    for row in equal.sum(1).argsort(descending=True, stable=True).tolist():
        members = (equal[row] & free).nonzero().flatten()
        if free[row] and len(torch.unique(own[found.neurons[members]], dim=0)) > 1:
            clusters.append(Revealed(found.mean(members), found.neurons[members], True))
            free[members] = False
    away = (found.rows - found.rows.mean(0)).norm(dim=1)
    singles = [row for row in away.argsort(descending=True, stable=True).tolist() if free[row]]
    return clusters + [Revealed(found.rows[row], found.neurons[row : row + 1], False) for row in singles]


def consistent(offered: list[Revealed], first: FirstLinear, shape: tuple[int, ...], count: int) -> list[Revealed]:
    """Return at most `count` candidates of which each activates its own neurons, and no other one's, by majority.

    Args:
        offered: Candidates, the surest first.
        first: The layer.
        shape: Shape of one example.
        count: Number of examples.
    """
    if not offered:
        return []
    active = first.active(torch.stack([one.inputs for one in offered]).view(-1, *shape))
    chosen: list[int] = []
    for number, one in enumerate(offered):
        if len(chosen) == count:
            break
        alone = active[number, one.neurons].double().mean() > 0.5
        clashes = any(
            active[other, one.neurons].double().mean() > 0.5
            or active[number, offered[other].neurons].double().mean() > 0.5
            for other in chosen
        )
        if alone and not clashes:
            chosen.append(number)
    return [offered[number] for number in chosen]
