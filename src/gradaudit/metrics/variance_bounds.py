"""Bounds on the ratio of posterior to prior variance for updates whose Jacobian is too large to compute.

Golub-Kahan bidiagonalisation, the Lanczos process of JᵀJ, finds an orthonormal basis V of k directions of the inputs
that the update sees most, and the part F_k of F = JᵀJ v/s² that it has measured. Each step takes two products with the
Jacobian, whatever its size.

- Upper bound: F_k ⪯ F, so that `diag((F_k + I)⁻¹)` is at least the ratio of every pixel.
- Lower bound of the mean: a diagonal block of an inverse is at least the inverse of the block, and the mean of
  1/(1 + λ) is at least 1/(1 + mean λ). Hence `tr (F + I)⁻¹ ≥ tr (VᵀFV + I)⁻¹ + n/(1 + t/n)`, with t the trace of F on
  the n = d - k directions that are left.
- t is the mean of ‖Pr‖² over random signs r (Hutchinson, 1990), where P projects Aᵀ on these directions: one
  vector-Jacobian product each. It has a standard error.

The bounds are close where the noise hides all but k directions, and where k = d, which gives the exact ratios.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .linearisation import Linearised, ProductWatch
from .posterior_variance import VarianceRatios, inverse_root, require_positive, root

STEPS, PROBES = 256, 16
BREAKDOWN = 1e-13  # of the largest singular value: what is smaller is rounding
ERRORS = 2.0  # standard errors that are added to the half width of the bounds


@dataclass(frozen=True)
class LanczosEffort:
    """How much is computed for an estimate.

    Args:
        steps: Most steps of the bidiagonalisation, at least 1; d of them give the exact ratios.
        probes: Number of random vectors, at least 2.
        seed: Seed of the start and of the vectors.
    """

    steps: int = STEPS
    probes: int = PROBES
    seed: int = 0


@dataclass(frozen=True, eq=False)
class _Captured:
    """The part of A = J√v (over the noise, if that differs between entries) that k steps have measured.

    Args:
        basis: V and, if it is known, the direction that the next step would take, `[d, k]` or `[d, k + 1]`.
        band: Upper bidiagonal B with `A V = U B[:, :k]`, `[k, k]` or `[k, k + 1]`.
        left: `Aᵀr` for each probe, without its part in V, `[probes, d]`.
    """

    basis: Tensor
    band: Tensor
    left: Tensor


def estimated_ratios(
    line: Linearised,
    noises: Sequence[float | Tensor],
    variance: float | Tensor,
    effort: LanczosEffort | None = None,
    watch: ProductWatch | None = None,
) -> Iterator[VarianceRatios]:
    """Yield bounds on the ratios for every noise level; `mean ± error` contains the bounds and two standard errors.

    Args:
        line: The linearised update, in float64.
        noises: As for `exact_ratios`.
        variance: As for `exact_ratios`.
        effort: How much is computed.
        watch: Called with the progress of the bidiagonalisation.

    Raises:
        AuditError: A noise level or a variance is not positive.
    """
    for noise in noises:
        require_positive(noise, variance)
    asked, shared = effort or LanczosEffort(), None
    for noise in noises:
        if isinstance(noise, Tensor):
            yield _bounds(line, _captured(_Scaled(line, variance, noise), asked, watch), 1.0)
        else:
            shared = shared or _captured(_Scaled(line, variance, None), asked, watch)
            yield _bounds(line, shared, noise)


class _Scaled:
    """A = S⁻¹ J √v, by its products with vectors."""

    def __init__(self, line: Linearised, variance: float | Tensor, noise: Tensor | None) -> None:
        self.line, self.root = line, root(line, variance)
        self.weight = 1.0 if noise is None else 1.0 / noise.to(line.value)

    def forward(self, direction: Tensor) -> Tensor:
        return self.line.push((direction * self.root)[None])[0] * self.weight

    def backward(self, rows: Tensor) -> Tensor:
        return self.line.pull(rows * self.weight) * self.root


def _captured(scaled: _Scaled, effort: LanczosEffort, watch: ProductWatch | None) -> _Captured:
    """Return what the bidiagonalisation and the probes find."""
    line = scaled.line
    m, d = line.sizes
    generator = torch.Generator().manual_seed(effort.seed)
    steps = min(effort.steps, d)
    basis, diagonal, above = _bidiagonal(scaled, steps, generator, watch)
    band = torch.diag(diagonal)
    band = torch.cat([band, torch.zeros(steps, 1).to(band)], 1)
    band[range(steps), range(1, steps + 1)] = above
    if basis.shape[1] == steps:  # the next direction is unknown, or there is none
        band = band[:, :steps]
    signs = (torch.randint(0, 2, (1, m), generator=generator) * 2 - 1 for _ in range(effort.probes))
    plain = torch.cat([scaled.backward(row.to(line.value)) for row in signs])
    inner = basis[:, :steps]
    left = plain - (plain @ inner) @ inner.T
    return _Captured(basis, band, left - (left @ inner) @ inner.T)


def _bidiagonal(
    scaled: _Scaled, steps: int, generator: torch.Generator, watch: ProductWatch | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return V `[d, k]` or `[d, k + 1]`, the diagonal of B and the entries above it, `[k]` each.

    V is orthogonalised twice, which keeps B accurate without U (Simon and Zha, 2000). Where the process ends early,
    because all that its start reaches is found, it starts again from a random direction.
    """
    d = scaled.line.sizes[1]
    basis = scaled.line.value.new_zeros(d, min(steps + 1, d))
    diagonal, above = basis.new_zeros(steps), basis.new_zeros(steps)
    largest, next_one, image = 0.0, _random(basis[:, :0], generator), None
    for k in range(steps):
        basis[:, k] = next_one
        known = basis[:, : k + 1]
        image = scaled.forward(next_one) - (0.0 if image is None else above[k - 1] * image)
        length = float(image.norm())
        largest = max(largest, length)
        back = 0.0
        if length > BREAKDOWN * largest:
            diagonal[k], image = length, image / length
            found = _without(scaled.backward(image[None])[0] - length * next_one, known)
            back = float(found.norm())
            largest = max(largest, back)
        above[k] = back if back > BREAKDOWN * largest else 0.0
        if k + 1 < d:
            next_one = found / back if above[k] > 0 else _random(known, generator)
        if watch is not None:
            watch(k + 1, steps)
    if steps < d:
        basis[:, steps] = next_one
    return basis, diagonal, above


def _random(known: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random unit vector that is orthogonal to the columns of `known`."""
    drawn = torch.randn(len(known), generator=generator, dtype=torch.float64).to(known)
    found = _without(drawn, known)
    return found / found.norm()


def _without(vector: Tensor, known: Tensor) -> Tensor:
    """Return a vector without its part in the orthonormal columns of `known`."""
    for _ in range(2):
        vector = vector - known @ (known.T @ vector)
    return vector


def _bounds(line: Linearised, found: _Captured, noise: float) -> VarianceRatios:
    """Return the bounds at a noise level, which divides what was found."""
    basis, band = found.basis, found.band / noise
    steps, d = len(band), len(basis)
    outside = (1.0 - basis.square().sum(1)).clamp_min(0.0)
    high = ((basis @ inverse_root(band)).square().sum(1) + outside).clamp(0.0, 1.0)
    if steps == d:
        return VarianceRatios(high.view(line.shape), float(high.mean()), 0.0, True)
    top, (bottom, spread) = float(high.mean()), _least(band[:, :steps], found.left / noise, d)
    bottom = min(bottom, top)
    error = (top - bottom) / 2 + ERRORS * spread
    return VarianceRatios(high.view(line.shape), (top + bottom) / 2, error, False)


def _least(band: Tensor, left: Tensor, d: int) -> tuple[float, float]:
    """Return the lower bound of the mean ratio and the standard error of that bound."""
    rest, energies = d - len(band), left.square().sum(1)
    share = float(energies.mean()) / rest
    spread = float(energies.std()) / math.sqrt(len(energies)) / rest
    slope = rest / (1.0 + share) ** 2  # of rest / (1 + share) in the share
    return (float(inverse_root(band).square().sum()) + rest / (1.0 + share)) / d, slope * spread / d
