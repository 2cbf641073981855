"""Bounds on what any attack can reach where Gaussian noise of known size protects an update.

All functions take the noise multiplier σ, the standard deviation of the noise on each entry divided by the radius of a
ball that contains every possible contribution, and the number T of noisy steps. They assume that the example takes part
in every step, which makes them upper bounds under sub-sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.optimize import brentq
from scipy.special import gammainc, gammaincinv, log_ndtr, ndtr, ndtri

from ..values.errors import AuditError

DELTA = 1e-5
"""The delta for which epsilon is computed."""


def identification_bound(candidates: int, multiplier: float, steps: int = 1) -> float:
    """Return the largest probability with which any adversary names the true one of K equally likely candidates.

    It is `Φ(Φ⁻¹(1/K) + √T/σ)` (Balle et al., 2022, arXiv:2201.04845; Hayes et al., 2023, arXiv:2302.07225). The means
    of all candidates must lie in a ball of the radius that σ refers to; its centre does not matter.

    Args:
        candidates: K, at least 1.
        multiplier: σ, at least 0.
        steps: T, at least 1.

    Raises:
        AuditError: An argument is out of range.
    """
    _require(multiplier, steps)
    if candidates < 1:
        raise AuditError(f"candidates: must be at least 1. Found {candidates}.")
    if candidates == 1 or multiplier == 0:
        return 1.0
    return float(ndtr(ndtri(1 / candidates) + math.sqrt(steps) / multiplier))


def from_scratch_bound(psnr: float, multiplier: float, length: float, size: int, steps: int = 1) -> float:
    """Return the probability that the best attack without any prior knowledge reaches a PSNR.

    In the worst case the update is one image, scaled to the clipping norm, so that the estimate is N(x, τ²I) with
    `τ = σ‖x‖/√T`, and `P(MSE ≤ η) = P_gamma(N/2, Nη/(2τ²))` (Riess et al., 2024, arXiv:2402.12861). An attack with
    knowledge of such images can exceed it, but not `identification_bound`.

    Args:
        psnr: The PSNR in dB, data range 1.
        multiplier: σ, at least 0.
        length: ‖x‖, the L2 norm of the image, positive.
        size: N, the number of values of the image.
        steps: T, at least 1.

    Raises:
        AuditError: An argument is out of range.
    """
    spread = _spread(multiplier, length, size, steps)
    return 1.0 if spread == 0 else float(gammainc(size / 2, size * 10 ** (-psnr / 10) / (2 * spread)))


def from_scratch_psnr(probability: float, multiplier: float, length: float, size: int, steps: int = 1) -> float:
    """Return the PSNR in dB that `from_scratch_bound` reaches with this probability, in (0, 1); infinite for σ = 0.

    Raises:
        AuditError: An argument is out of range.
    """
    spread = _spread(multiplier, length, size, steps)
    if not 0 < probability < 1:
        raise AuditError(f"probability: must lie between 0 and 1. Found {probability}.")
    error = 2 * spread / size * float(gammaincinv(size / 2, probability))
    return math.inf if error == 0 else -10 * math.log10(error)


def gaussian_epsilon(multiplier: float, steps: int = 1, delta: float = DELTA) -> float:
    """Return the smallest epsilon for which T Gaussian releases are (epsilon, delta)-differentially private.

    It is exact: T releases compose to one with √T/σ (Dong et al., 2022, arXiv:1905.02383), for which Balle and Wang
    (2018, arXiv:1805.06530) give delta as a function of epsilon. Neighbours differ by the presence of one contribution.

    Args:
        multiplier: σ, at least 0; epsilon is infinite for 0.
        steps: T, at least 1.
        delta: In (0, 1).

    Raises:
        AuditError: An argument is out of range.
    """
    _require(multiplier, steps)
    if not 0 < delta < 1:
        raise AuditError(f"delta: must lie between 0 and 1. Found {delta}.")
    if multiplier == 0:
        return math.inf
    shift = math.sqrt(steps) / multiplier

    def excess(epsilon: float) -> float:
        second = math.exp(epsilon + float(log_ndtr(-epsilon / shift - shift / 2)))
        return float(ndtr(-epsilon / shift + shift / 2)) - second - delta

    most = shift**2 / 2 + shift * math.sqrt(2 * math.log(1 / delta))  # by zero-concentrated privacy
    return float(brentq(excess, 0.0, most)) if excess(0.0) > 0 else 0.0


def label_signal_to_noise(bias: Sequence[float], labels: Sequence[int], deviation: float) -> tuple[float, ...]:
    """Return, for each class of the batch in order, the bias gradient's magnitude in standard deviations of its noise.

    Args:
        bias: `[K]`, the gradient of the bias of the last layer as the noise is added to it.
        labels: The classes of the examples.
        deviation: Standard deviation of the noise on each of these entries, positive.
    """
    return tuple(abs(bias[label]) / deviation for label in sorted(set(labels)))


def _spread(multiplier: float, length: float, size: int, steps: int) -> float:
    """Return τ², the variance of the best estimate of each value of the image."""
    _require(multiplier, steps)
    if not (length > 0 and size > 0):
        raise AuditError(f"length, size: must be positive. Found {length:g} and {size}.")
    return (multiplier * length) ** 2 / steps


def _require(multiplier: float, steps: int) -> None:
    if not (multiplier >= 0 and steps >= 1):
        found = f"{multiplier:g} and {steps}"
        raise AuditError(f"multiplier, steps: must be at least 0 and at least 1. Found {found}.")
