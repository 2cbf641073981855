import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gradaudit.metrics import Interval, mean_interval
from gradaudit.values.errors import AuditError

values = st.lists(st.integers(-10_000, 10_000).map(lambda n: n / 100), min_size=2, max_size=20)


@given(values, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(deadline=None)
def test_equals_scipy(numbers, level):
    ours = mean_interval(numbers, level)
    assert ours.n == len(numbers)
    assert ours.mean == pytest.approx(np.mean(numbers), abs=1e-9)
    if len(set(numbers)) > 1:
        low, high = stats.t.interval(level, len(numbers) - 1, np.mean(numbers), stats.sem(numbers))
        assert (ours.low, ours.high) == (pytest.approx(low, abs=1e-8), pytest.approx(high, abs=1e-8))


def test_covers_the_true_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2_000, 4))
    intervals = [mean_interval(row) for row in draws]
    assert np.mean([i.low <= 3.0 <= i.high for i in intervals]) == pytest.approx(0.95, abs=0.015)


def test_equal_values_have_no_width():
    assert mean_interval([100.0] * 3) == Interval(100.0, 100.0, 100.0, 3)


def test_one_value_has_no_interval():
    one = mean_interval([7.0])
    assert (one.mean, one.n) == (7.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)


def test_takes_a_tensor():
    assert mean_interval(torch.tensor([1.0, 3.0])).mean == 2.0


@pytest.mark.parametrize(
    ("numbers", "level", "message"),
    [
        ([], 0.95, "no value"),
        ([1.0, math.nan], 0.95, "NaN"),
        ([1.0, -math.inf], 0.95, "NaN or beyond"),
        ([1.0, 1e300], 0.95, "beyond 1e"),
        ([1.0, 2.0], 95, "not 95"),
        ([1.0], 0.0, "not 0.0"),
    ],
)
def test_refuses(numbers, level, message):
    with pytest.raises(AuditError, match=message):
        mean_interval(numbers, level)
