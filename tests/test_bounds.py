"""The bounds on any attack, each against a simulation that does not know the formula."""

import math

import numpy as np
import pytest

from gradaudit.metrics.bounds import (
    from_scratch_bound,
    from_scratch_psnr,
    gaussian_epsilon,
    identification_bound,
    label_signal_to_noise,
)
from gradaudit.values.errors import AuditError

DRAWS = 100_000
MARGIN = 0.01  # six standard errors of a share of this many draws


@pytest.mark.parametrize(
    ("candidates", "multiplier", "simulated", "bound"),
    [(10, 1.0, 0.345, 0.389), (10, 0.5, 0.665, 0.764), (100, 0.25, 0.912, 0.953)],
)
def test_no_adversary_names_the_true_candidate_more_often(candidates, multiplier, simulated, bound):
    """Candidates at right angles and of norm 1: the nearest one is the most likely."""
    generator = np.random.default_rng(3)
    seen = multiplier * generator.standard_normal((DRAWS // 4, candidates))
    seen[:, 0] += 1
    share = float(np.mean(seen.argmax(1) == 0))
    assert share == pytest.approx(simulated, abs=2 * MARGIN)
    assert identification_bound(candidates, multiplier) == pytest.approx(bound, abs=5e-4)
    assert share < identification_bound(candidates, multiplier)


@pytest.mark.parametrize(("multiplier", "steps"), [(1.0, 1), (2.0, 1), (2.0, 4)])
def test_the_radius_of_the_ball_is_what_counts(multiplier, steps):
    """Two candidates at opposite ends of the ball reach the bound: it can be no smaller, and twice C is too much."""
    noise = multiplier * np.random.default_rng(4).standard_normal((DRAWS, steps))
    share = float(np.mean((1 + noise).sum(1) > 0))
    assert share == pytest.approx(identification_bound(2, multiplier, steps), abs=MARGIN)
    assert share < identification_bound(2, multiplier / 2, steps) - 3 * MARGIN


def test_without_noise_or_without_other_candidates_nothing_is_promised():
    assert identification_bound(10, 0) == identification_bound(1, 5.0) == 1
    assert identification_bound(10, 1e9) == pytest.approx(0.1)
    assert from_scratch_bound(90, 0, 1.0, 4) == 1
    assert from_scratch_psnr(0.5, 0, 1.0, 4) == math.inf
    assert gaussian_epsilon(0) == math.inf


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_from_scratch_is_the_error_of_an_image_scaled_to_the_norm(share, steps):
    """The update is the image, scaled to norm C = 1, with noise; its mean over the steps is scaled back."""
    generator, sigma = np.random.default_rng(5), 0.05
    image = generator.random(48)
    length = float(np.linalg.norm(image))
    noise = sigma * generator.standard_normal((DRAWS // 8, steps, 48)).mean(1)
    errors = np.square((image / length + noise) * length - image).mean(1)
    psnr = from_scratch_psnr(share, sigma, length, 48, steps)
    assert np.mean(-10 * np.log10(errors) >= psnr) == pytest.approx(share, abs=3 * MARGIN)
    assert from_scratch_bound(psnr, sigma, length, 48, steps) == pytest.approx(share)


def test_epsilon_is_the_one_at_which_delta_is_spent():
    """Delta is the mean of max(0, 1 - e^(epsilon - L)) over the privacy loss L of T releases."""
    for multiplier, steps, delta in ((1.0, 1, 0.05), (2.0, 9, 0.1), (0.5, 1, 0.2)):
        noise = np.random.default_rng(6).standard_normal((DRAWS, steps))
        loss = (noise / multiplier + 1 / (2 * multiplier**2)).sum(1)
        epsilon = gaussian_epsilon(multiplier, steps, delta)
        assert np.maximum(0, 1 - np.exp(epsilon - loss)).mean() == pytest.approx(delta, abs=MARGIN)
        assert np.maximum(0, 1 - np.exp(0.8 * epsilon - loss)).mean() > delta + MARGIN
    assert gaussian_epsilon(1.0) == pytest.approx(4.377, abs=1e-3)
    assert gaussian_epsilon(1e9) == 0
    assert math.isfinite(gaussian_epsilon(1e-4))


def test_labels_are_compared_with_their_noise():
    assert label_signal_to_noise([0.5, -2.0, 3.0], [1, 0, 1], 0.5) == (1.0, 4.0)


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: identification_bound(0, 1.0), "candidates: must be at least 1"),
        (lambda: identification_bound(2, -1.0), "multiplier, steps"),
        (lambda: identification_bound(2, 1.0, 0), "multiplier, steps"),
        (lambda: from_scratch_bound(10, 1.0, 0.0, 4), "length, size: must be positive"),
        (lambda: from_scratch_psnr(1.0, 1.0, 1.0, 4), "probability: must lie between 0 and 1"),
        (lambda: gaussian_epsilon(1.0, 1, 0.0), "delta: must lie between 0 and 1"),
    ],
)
def test_what_is_out_of_range_is_named(call, complaint):
    with pytest.raises(AuditError, match=complaint):
        call()
