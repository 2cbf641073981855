import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

from gradaudit.metrics import PSNR_CAP, psnr
from gradaudit.values.errors import AuditError

seeds = st.integers(0, 2**32 - 1)
sizes = st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))


def random_pair(seed, size):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(size, generator=generator), torch.rand(size, generator=generator)


def test_known_value():
    truth = torch.full((1, 3, 4, 4), 0.25)
    assert psnr(truth + 0.1, truth).item() == pytest.approx(20.0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_skimage_and_torchmetrics_example_by_example(dtype):
    from torchmetrics.functional.image import peak_signal_noise_ratio as torchmetrics_psnr  # takes seconds

    guess, truth = (side.to(dtype) for side in random_pair(0, (4, 3, 16, 12)))
    ours = psnr(guess, truth)
    theirs = [
        peak_signal_noise_ratio(t.double().numpy(), g.double().numpy(), data_range=1.0)
        for g, t in zip(guess, truth, strict=True)
    ]
    assert ours.tolist() == pytest.approx(theirs, abs=1e-9)
    independent = torchmetrics_psnr(guess.double(), truth.double(), data_range=1.0, reduction="none", dim=(1, 2, 3))
    assert ours.tolist() == pytest.approx(independent.tolist(), abs=1e-5)


@given(seeds, sizes)
@settings(deadline=None)
def test_symmetric(seed, size):
    left, right = random_pair(seed, size)
    assert torch.equal(psnr(left, right), psnr(right, left))


@given(seeds, sizes)
@settings(deadline=None)
def test_follows_a_permutation_of_both_sides(seed, size):
    guess, truth = random_pair(seed, size)
    order = torch.randperm(size[0], generator=torch.Generator().manual_seed(seed))
    assert torch.equal(psnr(guess[order], truth[order]), psnr(guess, truth)[order])


@given(seeds, sizes, st.floats(0.01, 0.4), st.floats(1.1, 2.0))
@settings(deadline=None)
def test_falls_with_more_noise(seed, size, noise, factor):
    direction, truth = random_pair(seed, size)
    truth = 0.5 + 0.0 * truth
    direction = (direction - 0.5).sign()
    less, more = (psnr(truth + direction * amount, truth) for amount in (noise, min(noise * factor, 0.5)))
    assert (more < less).all()


@given(seeds, sizes)
@settings(deadline=None)
def test_lies_between_0_and_the_cap(seed, size):
    values = psnr(*random_pair(seed, size))
    assert ((values >= 0) & (values <= PSNR_CAP)).all()


def test_exact_and_nearly_exact_matches_are_capped():
    truth = torch.rand(2, 1, 5, 5, dtype=torch.float64)
    assert psnr(truth, truth).tolist() == [100.0, 100.0]
    assert psnr(truth * (1 - 1e-7), truth).tolist() == [100.0, 100.0]


def test_both_sides_are_clamped():
    truth = torch.tensor([-3.0, 0.0, 1.0, 7.0]).view(1, 1, 2, 2)
    guess = torch.tensor([0.0, -2.0, 4.0, 1.0]).view(1, 1, 2, 2)
    assert psnr(guess, truth).item() == PSNR_CAP


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_pixel_that_is_not_finite_counts_as_an_error_of_1(value):
    truth = torch.full((2, 1, 2, 2), 0.5)
    guess = truth.clone()
    guess[0, 0, 0, 0] = value
    assert psnr(guess, truth).tolist() == pytest.approx([10 * math.log10(4), 100.0])
    assert psnr(torch.full_like(truth, value), truth).tolist() == [0.0, 0.0]


@given(seeds, st.floats(0, 1))
@settings(deadline=None)
def test_no_finite_pixel_scores_worse_than_nan(seed, value):
    guess, truth = random_pair(seed, (1, 1, 3, 3))
    finite, nan = guess.clone(), guess.clone()
    finite[0, 0, 1, 1], nan[0, 0, 1, 1] = value, math.nan
    assert psnr(nan, truth) <= psnr(finite, truth)


def test_the_arguments_are_left_alone_and_no_graph_is_kept():
    truth, guess = torch.rand(1, 1, 3, 3) + 1, torch.full((1, 1, 3, 3), math.nan, requires_grad=True)
    before = truth.clone()
    assert not psnr(guess, truth).requires_grad
    assert torch.equal(truth, before)
    assert guess.isnan().all()


@pytest.mark.parametrize(
    ("guess", "truth", "message"),
    [
        (torch.rand(1, 3, 4, 4), torch.rand(2, 3, 4, 4), r"reconstruction: its shape is \[1, 3, 4, 4\]"),
        (torch.rand(3, 4, 4), torch.rand(3, 4, 4), r"reconstruction: images must be \[B, C, H, W\]"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.rand(1, 3, 4, 4), "divide 8-bit images by 255"),
        (torch.rand(1, 3, 4, 4), torch.full((1, 3, 4, 4), math.nan), "truth: a pixel is NaN"),
    ],
)
def test_refuses(guess, truth, message):
    with pytest.raises(AuditError, match=message) as caught:
        psnr(guess, truth)
    assert "\n" not in str(caught.value)
