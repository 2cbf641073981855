"""A mean with its confidence interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import stdtrit

from ..values.errors import AuditError

LARGEST = 1e150  # the square of a larger number is infinite


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
    numbers = [float(value) for value in values]
    if not numbers:
        raise AuditError("interval: there is no value to compute the mean of.")
    if not all(abs(number) < LARGEST for number in numbers):
        raise AuditError(f"interval: a value is NaN or beyond {LARGEST:.0e}; omit it or fix its metric.")
    if not 0 < level < 1:
        raise AuditError(f"interval: level must lie between 0 and 1, not {level} (0.95 for 95 %).")
    n, mean = len(numbers), statistics.fmean(numbers)
    if n == 1:
        return Interval(mean, math.nan, math.nan, n)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * statistics.stdev(numbers, mean) / math.sqrt(n)
    return Interval(mean, mean - reach, mean + reach, n)
