"""SVDefense (2025): only the largest singular values of every tensor are shared; here plain truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from ...values.errors import AttackFailed
from ...values.types import Tensors
from ._defense import Defense, Distance, Doubt, each, require

VISIBLE = 1e-4  # singular values below this share of the largest are rounding errors


@dataclass(frozen=True)
class SvDefense(Defense):
    """Truncated singular value decomposition of every tensor: plain truncation.

    A tensor is a matrix `[out, in·k·k]` (`[out, in]` for a linear layer). It keeps its r largest singular values,
    with the smallest r such that their squares sum to at least `energy` of all squares. Tensors of one dimension stay
    as they are. The paper's thresholds that adapt to the client, its channel weights and its weighted aggregation are
    left out.

    An adversary that knows this defense reads the kept singular vectors U, V off the observed update. The true gradient
    differs from it only in the block orthogonal to both, g = o + (1 - UUᵀ) g (1 - VVᵀ), so that everything but this
    block is compared. A small rank also helps attacks that decompose a gradient into its examples.

    Args:
        energy: Share of the squared singular values that is kept, in (0, 1].
    """

    example: ClassVar[tuple[Any, ...]] = (0.7,)
    paper: ClassVar[str] = "arXiv:2510.03319"
    doubt: ClassVar[Doubt] = Doubt(
        "the small singular values count as observed zeros, although those of the true gradient are not zero. An "
        "adversary that knows the defense (DEFENSE) compares the kept subspaces alone and may recover more",
        "its equations hold for the whole gradient, and not for its largest singular values",
    )
    energy: float

    def __post_init__(self) -> None:
        require(0 < self.energy <= 1, self, "energy must be in (0, 1]")

    def protect(self, tensors: Tensors) -> Tensors:
        """Return each tensor with its small singular values set to zero."""
        return each(tensors, self._truncated)

    def simulate(self, candidate: Tensors, observed: Tensors) -> Tensors:
        """Return the candidate without the block orthogonal to the observed singular vectors on both sides."""
        return tuple(map(_visible, candidate, observed))

    def log_likelihood(self, observed: Tensors, candidate: Tensors) -> Tensor:
        """Return minus the squared distance outside the block that the truncation hides."""
        pairs = zip(self.simulate(candidate, observed), observed, strict=True)
        return -torch.stack([(c - o).square().sum() for c, o in pairs]).sum()

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the attack's own distance outside the block that the truncation hides."""
        return distance(self.simulate(candidate, observed), observed)

    @classmethod
    def estimated(cls, rounds: Sequence[Tensors]) -> Self:
        """Return the defense with the largest energy that the observed ranks are consistent with.

        The comparison uses the observed subspaces, and not this number. Each tensor that was truncated after r singular
        values s had less than `energy` in r - 1 of them; its hidden values are at most s_r, which bounds the rest.

        Raises:
            AttackFailed: Every matrix has its full rank.
        """
        bounds = [bound for tensor in rounds[0] if tensor.dim() > 1 for bound in _least_energy(tensor)]
        if not bounds:
            raise AttackFailed(f"{cls.name}: no tensor of the observed update lacks rank, so that none was truncated.")
        return cls(max(bounds))

    def _truncated(self, tensor: Tensor) -> Tensor:
        if tensor.dim() < 2 or self.energy == 1:
            return tensor
        left, values, right = _decomposed(tensor)
        squares = values.double().square()
        total = squares.sum()
        rank = int((squares.cumsum(0) < self.energy * total).sum()) + 1
        if rank >= len(values) or not total:
            return tensor
        return ((left[:, :rank] * values[:rank]) @ right[:rank]).view_as(tensor).to(tensor)


_SUBSPACES = WeakTensorKeyDictionary()  # an attack compares with the same observed tensors at every step


def _subspaces(observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the singular vectors U `[m, r]` and Vᵀ `[r, n]` of an observed tensor that are not rounding errors."""
    if observed not in _SUBSPACES:
        left, values, right = _decomposed(observed.detach())
        rank = int((values > VISIBLE * values[0]).sum())
        _SUBSPACES[observed] = left[:, :rank].to(observed), right[:rank].to(observed)
    return _SUBSPACES[observed]


def _decomposed(tensor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, the singular values and Vᵀ, in at least single precision: torch decomposes nothing coarser."""
    matrix = tensor.flatten(1)
    left, values, right = torch.linalg.svd(
        matrix.to(torch.promote_types(matrix.dtype, torch.float32)), full_matrices=False
    )
    return left, values, right


def _visible(candidate: Tensor, observed: Tensor) -> Tensor:
    if candidate.dim() < 2:
        return candidate
    left, right = _subspaces(observed)
    matrix = candidate.flatten(1)
    rest = matrix - left @ (left.T @ matrix)
    hidden = rest - (rest @ right.T) @ right
    return (matrix - hidden).view_as(candidate)


def _least_energy(tensor: Tensor) -> list[float]:
    """Return the energy that r - 1 singular values hold at least, if the rank r is not full."""
    squares = _decomposed(tensor)[1].double().square()
    rank = int((squares > VISIBLE**2 * squares[0]).sum())
    if not 0 < rank < len(squares):
        return []
    most = squares[:rank].sum() + (len(squares) - rank) * squares[rank - 1]
    return [float((squares[: rank - 1].sum() / most).clamp_min(VISIBLE))]
