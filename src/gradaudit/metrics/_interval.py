"""A mean with its confidence interval, by Student's t or by the bootstrap."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ..values.errors import AuditError

LARGEST = 1e150  # the square of a larger number is infinite
RESAMPLES = 9_999


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Args:
        mean: Arithmetic mean.
        low: Lower bound, NaN for a single value.
        high: Upper bound, NaN for a single value.
        n: Number of values.
    """

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Return the mean and its two-sided confidence interval by Student's t (Student, 1908, doi:10.2307/2331554).

    The interval assumes independent values. Examples of one batch share an update and are not independent, so that
    their interval understates the uncertainty over batches; give one value for each batch for that.

    Args:
        values: At least one finite number, such as one score for each example; may be a one-dimensional tensor.
        level: Probability that the interval covers the true mean, in (0, 1).

    Returns:
        The interval. For a single value, whose spread is unknown, `low` and `high` are NaN.

    Raises:
        AuditError: There is no value, a value is NaN or beyond 1e150, or `level` is outside (0, 1).
    """
    numbers = _checked(values, level)
    n, mean = len(numbers), statistics.fmean(numbers)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * statistics.stdev(numbers, mean) / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach, n)


def bootstrap_interval(values: Iterable[float], level: float = 0.95, *, seed: int = 0) -> Interval:
    """Return the mean and its confidence interval by the BCa bootstrap (Efron, 1987, doi:10.2307/2289144).

    The interval assumes independent values, but no distribution. It is too narrow for few values:
    `benchmarks/results/bootstrap.md` holds its measured coverage.

    Args:
        values: As for `mean_interval`; their order does not matter.
        level: As for `mean_interval`.
        seed: Seed of the resamples, so that equal values give an equal interval.

    Returns:
        The interval. For a single value `low` and `high` are NaN; for equal values they are that value. Where the
        correction of BCa is not defined, the percentile interval is returned.

    Raises:
        AuditError: As of `mean_interval`.
    """
    from scipy.stats import bootstrap  # here, because it takes a third of a second to import

    numbers = sorted(_checked(values, level))
    n, mean = len(numbers), statistics.fmean(numbers)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n)
    if numbers[0] == numbers[-1]:
        return Interval(numbers[0], numbers[0], numbers[0], n)
    low = high = math.nan
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        for method in ("BCa", "percentile"):
            resampled = bootstrap(
                (np.array(numbers),),
                np.mean,
                confidence_level=level,
                n_resamples=RESAMPLES,
                method=method,
                random_state=np.random.default_rng(seed),
            )
            low, high = map(float, resampled.confidence_interval)
            if math.isfinite(low) and math.isfinite(high):
                break
    return Interval(mean, low, high, n)


def _checked(values: Iterable[float], level: float) -> list[float]:
    """Return the values as numbers. Raise `AuditError` if there is none, or one or the level is out of range."""
    numbers = [float(value) for value in values]
    if not numbers:
        raise AuditError("interval: there is no value to compute the mean of.")
    if not all(abs(number) < LARGEST for number in numbers):
        raise AuditError(f"interval: a value is NaN or beyond {LARGEST:.0e}; omit it or fix its metric.")
    if not 0 < level < 1:
        raise AuditError(f"interval: level must lie between 0 and 1, not {level} (0.95 for 95 %).")
    return numbers
