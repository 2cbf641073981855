"""Levenberg-Marquardt with the full Jacobian of the update, for the last digits if the unknowns are few."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from ....values.types import Tensors
from ....values.validation import Count, Positive
from ._optimiser import Optimiser, Updates, constant

BLOCK = 1024  # rows of the symmetric product that are multiplied at once; blocks above the diagonal are not computed


@dataclass(frozen=True)
class LevenbergMarquardt(Optimiser):
    """Damped Gauss-Newton steps on ||s F(x) - g||² (Levenberg, 1944; Marquardt, 1963).

    F is the simulated update, g the observed one, and s the scale that fits best at each point, so that an update of
    unknown scale does no harm. A step that does not reduce the distance is undone and damped more strongly. A seed that
    no damping improves, or whose Jacobian would be too large, keeps its variables, at the cost of one evaluation.
    Priors and gradient transforms do not act.

    A step costs N double-backward passes in chunks, N²P multiplications and N³/3 more: about 6 s of one CPU core for
    N = 3072 unknowns and P = 15 826 entries of the update.

    Args:
        damping: First λ, as a fraction of the mean diagonal of JᵀJ; positive.
        unknowns: Largest number N of unknowns of one seed.
        entries: Largest number of entries of the Jacobian, N times the entries P of the update; 4 bytes each.
        trials: Number of dampings tried in one step, each ten times the previous one.
        chunk: Columns of the Jacobian computed at once.
    """

    damping: Positive = 1e-3
    unknowns: Count = 3_072
    entries: Count = 60_000_000
    trials: Count = 5
    chunk: Count = 128

    def build(
        self, variables: list[Tensor], steps: int, updates: Updates | None = None
    ) -> tuple[torch.optim.Optimizer, LambdaLR]:
        """Return a fresh optimiser over `variables` `[S, ...]`.

        Raise `ValueError` without `updates`, which it needs.
        """
        if updates is None:
            raise ValueError("LevenbergMarquardt needs the simulated and the observed update of each seed.")
        optimiser = _Dense(variables, self, updates)
        return optimiser, constant(optimiser)


class _Dense(torch.optim.Optimizer):
    def __init__(self, variables: list[Tensor], settings: LevenbergMarquardt, updates: Updates) -> None:
        super().__init__(variables, {"lr": 1.0})
        self.variables, self.settings, self.updates = variables, settings, updates
        self.damping: list[float | None] = [settings.damping] * len(variables[0])

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        value = closure()
        for seed, damping in enumerate(self.damping):
            if damping is not None:
                self.damping[seed] = self.improve(seed, damping)
        return value

    def improve(self, seed: int, damping: float) -> float | None:
        """Move one seed; return its next damping, or `None` if no further improvement is possible."""
        settings = self.settings
        with torch.enable_grad():
            update, observed = self.updates(seed)
            unknowns = sum(variable[seed].numel() for variable in self.variables)
            if unknowns > settings.unknowns or unknowns * sum(u.numel() for u in update) > settings.entries:
                return None
            columns = jacobian(update, self.variables, seed, settings.chunk)
        target = _flat(observed)
        gram, slope, distance = normal_equations(columns, _flat(update), target)
        del columns, update
        mean = gram.diagonal().mean()
        for trial in range(settings.trials):
            move = _solve(gram, slope, damping * mean)
            self.add(seed, -move)
            with torch.no_grad():
                closer = _residual(_flat(self.updates(seed)[0]), target)[1].norm() < distance
            if closer:
                return damping / 10 if trial == 0 else damping
            self.add(seed, move)
            damping *= 10
        return None

    @torch.no_grad()
    def add(self, seed: int, move: Tensor) -> None:
        sizes = [variable[seed].numel() for variable in self.variables]
        for variable, part in zip(self.variables, move.split(sizes), strict=True):
            variable[seed] += part.view_as(variable[seed]).to(variable.dtype)


def jacobian(update: Tensors, variables: Sequence[Tensor], seed: int, chunk: int) -> Tensor:
    """Return the transposed Jacobian of the flattened `update`, `[N, P]`, by reverse mode alone.

    wᵀJ is linear in w, so differentiating one entry of it with respect to w yields one column of J: N backward passes
    instead of P.

    Args:
        update: Tensors with P entries in all, with the graph to `variables`.
        variables: `[S, ...]` each, with N entries of `seed` in all.
        seed: Index on the first axis.
        chunk: Columns computed at once.
    """
    weights = [torch.zeros_like(tensor, requires_grad=True) for tensor in update]
    pulled = torch.autograd.grad(
        update, variables, weights, create_graph=True, allow_unused=True, materialize_grads=True
    )
    row = _flat([tensor[seed] for tensor in pulled])
    columns = row.new_empty(len(row), sum(tensor.numel() for tensor in weights), requires_grad=False)
    for first in range(0, len(row), chunk):
        chosen = torch.zeros(min(chunk, len(row) - first), len(row), dtype=row.dtype, device=row.device)
        chosen.diagonal(first).fill_(1)
        found = torch.autograd.grad(
            row, weights, chosen, retain_graph=True, is_grads_batched=True, allow_unused=True, materialize_grads=True
        )
        columns[first : first + len(chosen)] = torch.cat([tensor.flatten(1) for tensor in found], 1)
    return columns


@torch.no_grad()
def normal_equations(columns: Tensor, update: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return JᵀJ `[N, N]` and Jᵀr `[N]` in float64, and |r|, for the residual r = s F - g with the best scale s.

    As s depends on x, only the part of J orthogonal to F counts: s (I - u uᵀ) J with u = F / |F|.

    Args:
        columns: ∂F/∂x transposed, `[N, P]`.
        update: F, `[P]`.
        observed: g, `[P]`.
    """
    scale, residual = _residual(update, observed)
    along = columns @ (update / update.norm())
    gram = _symmetric_product(columns).sub_(torch.outer(along, along).double()).mul_(scale.double().square())
    return gram, (scale * (columns @ residual)).double(), residual.norm()


def _symmetric_product(rows: Tensor) -> Tensor:
    """Return `rows @ rows.T` in float64, summed in the precision of `rows`."""
    product = torch.empty(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK] @ rows[first:].T
        product[first : first + BLOCK, first:] = block
        product[first:, first : first + BLOCK] = block.T
    return product


def _residual(update: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale s that brings s F nearest to g, and s F - g."""
    scale = update.dot(observed) / update.dot(update).clamp_min(torch.finfo(update.dtype).tiny)
    return scale, scale * update - observed


def _solve(gram: Tensor, slope: Tensor, damping: Tensor) -> Tensor:
    """Return (gram + damping I)⁻¹ slope, or zero if rounding leaves the matrix not positive definite."""
    damped = gram.clone()
    damped.diagonal().add_(damping)
    factor, failed = torch.linalg.cholesky_ex(damped)
    move = torch.cholesky_solve(slope.unsqueeze(1), factor).squeeze(1)
    return torch.where(failed == 0, move, 0.0).nan_to_num(0.0, 0.0, 0.0)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
