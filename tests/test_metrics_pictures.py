import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.metrics._image_pairs import clean, mean_squared_errors

seeds = st.integers(0, 2**32 - 1)


def test_clean_copies_to_float64_in_the_unit_interval():
    given_pictures = torch.tensor([-1.0, 0.5, 2.0, math.inf, -math.inf, math.nan]).view(1, 1, 2, 3)
    cleaned = clean(given_pictures, "reconstruction")
    assert cleaned.dtype == torch.float64
    assert cleaned.flatten()[:3].tolist() == [0.0, 0.5, 1.0]
    assert cleaned.flatten()[3:].isnan().all()
    assert given_pictures.flatten()[0] == -1


@given(seeds, st.integers(0, 3), st.integers(0, 4), st.floats(0, 1))
@settings(deadline=None)
def test_errors_equal_the_definition(seed, rows, columns, holes):
    generator = torch.Generator().manual_seed(seed)
    left = torch.rand(rows, 2, 3, 3, dtype=torch.float64, generator=generator)
    right = torch.rand(columns, 2, 3, 3, dtype=torch.float64, generator=generator)
    left[torch.rand(left.shape, generator=generator) < holes] = math.nan
    expected = (left[:, None] - right[None]).square().nan_to_num(nan=1.0).mean((2, 3, 4))
    errors = mean_squared_errors(left, right)
    assert errors.shape == (rows, columns)
    assert errors.flatten().tolist() == pytest.approx(expected.flatten().tolist(), abs=1e-12)


@given(seeds, st.integers(1, 60), st.sampled_from([(1, 1, 1), (3, 5, 7), (3, 16, 16)]))
@settings(deadline=None, max_examples=50)
def test_equal_pictures_lie_at_exactly_equal_distance(seed, count, size):
    generator = torch.Generator().manual_seed(seed)
    left = torch.rand(1, *size, dtype=torch.float64, generator=generator)
    right = torch.rand(1, *size, dtype=torch.float64, generator=generator).expand(count, *size)
    assert len(mean_squared_errors(left, right).unique()) == 1
    assert mean_squared_errors(left, left).item() == 0.0
