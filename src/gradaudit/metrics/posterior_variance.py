"""What an update determines about its inputs without any attack: the Bayesian Cramér-Rao bound of each pixel.

The update is observed with independent Gaussian noise of standard deviation s on each entry, and each pixel has a
Gaussian prior of variance v. With J = ∂update/∂inputs and F = JᵀJ/s², every estimator has at least the mean squared
error `diag((F + I/v)⁻¹)` in the model that is linear at the truth (van Trees, 1968), and the posterior mean attains it.
Its ratio to v lies between 0, the update determines the pixel, and 1, the update says nothing about it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..values.errors import AuditError
from .linearisation import Linearised, ProductWatch
from .psnr import PSNR_CAP

HALF = 0.5
ENTRIES = 150_000_000  # most entries of a Jacobian that is computed whole: 1.2 GB, and three times that for its factors
PIXELS = 6144  # most values of the inputs for it, for the time of the factors


@dataclass(frozen=True, eq=False)
class VarianceRatios:
    """The ratio of posterior to prior variance of every value of the inputs, at one noise level.

    Args:
        ratios: Each ratio, of the shape of the inputs; upper bounds of them if they are not exact.
        mean: Mean ratio; in the middle of its bounds if it is not exact.
        error: How far the exact mean may be from `mean`.
        exact: Whether the ratios are exact.
    """

    ratios: Tensor
    mean: float
    error: float
    exact: bool

    @property
    def determined(self) -> float:
        """Effective number of pixels that the update determines, `Σ(1 - ratio)`."""
        return (1.0 - self.mean) * self.ratios.numel()

    @property
    def below_half(self) -> float:
        """Share of the values whose ratio is below one half; of an estimate, at least this share."""
        return float((self.ratios < HALF).double().mean())

    def psnr(self, variance: float) -> float:
        """Return the PSNR in dB (data range 1) of the least mean squared error, at most 100 dB.

        It is `(mean - error) · variance`, the bound that holds if the estimate is as low as it may be.
        """
        least = max(self.mean - self.error, 0.0) * variance
        return min(PSNR_CAP, 10 * math.log10(1 / max(least, 1e-300)))


def fits_exactly(entries: int, pixels: int, memory: int) -> bool:
    """Return whether the Jacobian of an update of so many entries is computed whole.

    Args:
        entries: m, the number of entries of the update.
        pixels: d, the number of values of the inputs.
        memory: Bytes of this machine, half of which may be used.
    """
    most = min(ENTRIES, memory // (2 * 8 * 4))
    return pixels <= PIXELS and (entries + pixels) * pixels <= most


def exact_ratios(
    line: Linearised, noises: Sequence[float | Tensor], variance: float | Tensor, watch: ProductWatch | None = None
) -> Iterator[VarianceRatios]:
    """Yield the exact ratios for every noise level, from one Jacobian.

    Args:
        line: The linearised update, in float64.
        noises: Standard deviations of the noise on each entry of the update: a number, or one for each entry `[m]`.
        variance: Prior variance of each value of the inputs: a number, or a tensor that broadcasts to their shape.
        watch: Called with the progress of the Jacobian.

    Raises:
        AuditError: A noise level or a variance is not positive.

    >>> line = Linearised(lambda x: 2 * x[:1], torch.ones(2, dtype=torch.float64))
    >>> [round(ratio, 6) for ratio in next(exact_ratios(line, [2.0], 1.0)).ratios.tolist()]
    [0.5, 1.0]
    """
    for noise in noises:
        require_positive(noise, variance)
    scaled = line.jacobian(watch) * root(line, variance)
    short: Tensor | None = None
    for noise in noises:
        if isinstance(noise, Tensor):
            ratios = diagonal(scaled / noise.to(scaled)[:, None])
        else:
            short = _short(scaled) if short is None else short
            ratios = diagonal(short / noise)
        shaped = ratios.view(line.shape)
        yield VarianceRatios(shaped, float(ratios.mean()), 0.0, True)


def root(line: Linearised, variance: float | Tensor) -> Tensor:
    """Return the prior standard deviation of every value of the inputs, `[d]`."""
    given = torch.as_tensor(variance, dtype=line.value.dtype, device=line.value.device)
    return given.expand(line.shape).reshape(-1).sqrt()


def diagonal(scaled: Tensor) -> Tensor:
    """Return `diag((AᵀA + I)⁻¹)`, `[d]`, for A `[m, d]`.

    It is computed from the triangular factor of A above the identity, not from AᵀA, which would lose all directions
    whose singular value is 1e-8 of the largest or less.
    """
    return inverse_root(scaled).square().sum(1).clamp(0.0, 1.0)


def inverse_root(scaled: Tensor) -> Tensor:
    """Return an upper triangular W with `(AᵀA + I)⁻¹ = W Wᵀ`, `[d, d]`, for A `[m, d]`."""
    unit = torch.eye(scaled.shape[1]).to(scaled)
    factor = torch.linalg.qr(torch.cat([scaled, unit]), mode="r").R
    return torch.linalg.solve_triangular(factor, unit, upper=True)


def _short(scaled: Tensor) -> Tensor:
    """Return a matrix with the same AᵀA and at most d rows."""
    m, d = scaled.shape
    return torch.linalg.qr(scaled, mode="r").R if m > d else scaled


def require_positive(noise: float | Tensor, variance: float | Tensor) -> None:
    """Raise `AuditError` unless all noise and all prior variances are positive and finite."""
    for name, value in (("noise", noise), ("variance", variance)):
        given = torch.as_tensor(value)
        if not bool(((given > 0) & given.isfinite()).all()):
            raise AuditError(
                f"{name}: must be positive and finite. Found {float(given.min()):g} as its smallest value."
            )


def rounding_noise(value: Tensor, counts: Sequence[int], precision: torch.dtype = torch.float32) -> Tensor:
    """Return the standard deviation of the rounding error of each entry of an update that is shared in a precision.

    Rounding a number g to the nearest one of a precision has an error of at most ε|g|/2, nearly uniform, hence of
    standard deviation up to ε|g|/√12. A gradient is a sum whose terms are rounded, too, so that an entry near zero is
    not more precise than its neighbours: |g| is replaced by √(g² + r²), where r is the root mean square of its tensor.

    Args:
        value: The update, flat `[m]`.
        counts: Number of entries of each tensor of the update.
        precision: Precision of the shared numbers.
    """
    unit = torch.finfo(precision).eps / math.sqrt(12)
    least = float(value.square().mean().sqrt()) * unit or torch.finfo(torch.float32).tiny
    levels = [part.square().mean().sqrt().clamp_min(least).expand(len(part)) for part in value.split(list(counts))]
    return unit * (value.square() + torch.cat(levels).square()).sqrt()
