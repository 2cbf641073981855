"""Cosine distance between updates, over all tensors together or layer by layer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Tensors
from ..part import Objective, Progress
from ..vectors import Combination, products


@dataclass(frozen=True)
class Cosine(Objective):
    """The cosine distance of the two updates as single vectors, in [0, 2] (Geiping et al., 2020, equation 4).

    It is 1 - cosine, and invariant to a positive rescaling of the update, hence to an unknown learning rate and to
    clipping. A zero vector on either side yields 1.
    """

    independent: ClassVar[bool] = True

    def bind(self, seen: Observation) -> Callable[..., Any]:
        """Return the objective in a form that computes the L2 norm of the observed update only once."""
        return _BoundCosine(self)

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        pairs = list(zip(candidate, observed, strict=True))
        inner = torch.stack([(c * o).sum() for c, o in pairs]).sum()
        lengths = [_length(torch.stack([t.pow(2).sum() for t in side]).sum()) for side in zip(*pairs, strict=True)]
        return 1 - inner / (lengths[0] * lengths[1])

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient; see `Matching.pull`."""
        return self.combination(candidate, observed, products(observed, observed)[1].sum())

    def combination(self, candidate: Tensors, observed: Tensors, observed_squares: Tensor) -> Combination:
        """Return the same as `pull`, given |observed|²."""
        inner, squares = (sums.sum() for sums in products(candidate, observed))
        distance, on_candidate, on_observed, square = _slope(inner, squares, observed_squares)
        return Combination(distance, on_candidate, on_observed, square)


class _BoundCosine:
    def __init__(self, objective: Cosine) -> None:
        self.objective = objective
        self.measured: Tensors = ()
        self.squares = torch.empty(())

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        return self.objective(candidate, observed, at)

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        if len(self.measured) != len(observed) or any(a is not b for a, b in zip(self.measured, observed, strict=True)):
            self.measured, self.squares = observed, products(observed, observed)[1].sum()
        return self.objective.combination(candidate, observed, self.squares)


@dataclass(frozen=True)
class LayerwiseCosine(Objective):
    """The mean cosine distance over the tensors, in [0, 2]; every tensor counts the same whatever its L2 norm.

    Args:
        floor: Tensors whose observed norm is at most this share of the largest do not count. In attention, the gradient
            of the key biases is zero except for rounding errors (1e-10 of the largest), whose direction is meaningless.
    """

    independent: ClassVar[bool] = True
    floor: float = 0.0

    def __call__(self, candidate: Tensors, observed: Tensors, at: Progress) -> Tensor:
        distances = [
            1 - (c * o).sum() / (_length(c.pow(2).sum()) * _length(o.pow(2).sum()))
            for c, o in zip(candidate, observed, strict=True)
        ]
        shares = self._shares(torch.stack([o.detach().pow(2).sum() for o in observed]))
        return (torch.stack(distances) * shares).sum()

    def pull(self, candidate: Tensors, observed: Tensors, at: Progress) -> Combination:
        """Return the closed form of its gradient; see `Matching.pull`."""
        inner, squares = products(candidate, observed)
        observed_squares = products(observed, observed)[1]
        terms = _slope(inner, squares, observed_squares)
        shares = self._shares(observed_squares)
        on_observed = terms[2] * shares.clamp_min(torch.finfo(shares.dtype).tiny)  # never 0
        return Combination((terms[0] * shares).sum(), terms[1] * shares, on_observed, (terms[3] * shares**2).sum())

    def _shares(self, observed_squares: Tensor) -> Tensor:
        """Return the weights of the tensors, which sum to 1."""
        if not self.floor:
            return torch.full_like(observed_squares, 1 / len(observed_squares))
        counts = (observed_squares > self.floor**2 * observed_squares.max()).to(observed_squares)
        return counts / counts.sum().clamp_min(1)


def _slope(inner: Tensor, squares: Tensor, observed_squares: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return 1 - cos, the two factors of v = -(o - c <c, o> / |c|²) / (|c| |o|), and |v|² = (1 - cos²) / |c|²."""
    lengths = _length(squares) * _length(observed_squares)
    cosine = inner / lengths
    # |v|² is at most as accurate as the cosine itself.
    sine_squared = (1 - cosine * cosine).clamp_min(torch.finfo(squares.dtype).eps)
    squares = _positive(squares)
    return 1 - cosine, cosine / squares, -1 / lengths, sine_squared / squares


def _positive(squares: Tensor) -> Tensor:
    return squares.clamp_min(torch.finfo(squares.dtype).tiny)


def _length(squares: Tensor) -> Tensor:
    """Return the square root, clamped to stay positive, with a finite slope at zero."""
    return _positive(squares).sqrt()
