import math

import pytest
import torch

from gradaudit.metrics import SSIM_NEEDS, ssim


@pytest.mark.parametrize("size", [(3, 3, 32, 32), (2, 1, 28, 28), (2, 3, 11, 17)])
@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
def test_equals_torchmetrics_example_by_example(size, noise):
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds

    torch.manual_seed(0)
    rows = torch.linspace(0, 6, size[2]).sin().view(1, 1, -1, 1)
    truth = (0.5 + 0.4 * rows * torch.rand(size[0], size[1], 1, size[3])).clamp(0, 1)
    guess = (truth + noise * torch.randn(size)).clamp(0, 1)
    _, similarities = structural_similarity_index_measure(
        guess.double(), truth.double(), data_range=1.0, reduction="none", sigma=1.5, return_full_image=True
    )
    theirs = similarities[:, :, 5:-5, 5:-5].mean((1, 2, 3))  # its own mean takes in windows over a mirrored border
    assert ssim(guess, truth).tolist() == pytest.approx(theirs.tolist(), abs=1e-6)


def test_equal_pictures_score_1_whatever_the_rest_of_the_batch_does():
    truth = torch.rand(3, 3, 16, 16)
    guess = truth.clone()
    guess[1] = torch.rand(3, 16, 16)
    values = ssim(guess, truth)
    assert values[0] == pytest.approx(1.0)
    assert values[2] == pytest.approx(1.0)
    assert values[1] < 0.5


def test_both_sides_are_clamped():
    truth = torch.rand(1, 3, 12, 12).round()
    assert ssim(truth * 3 - 1, truth).item() == pytest.approx(1.0)


def test_symmetric():
    left, right = torch.rand(2, 3, 14, 14), torch.rand(2, 3, 14, 14)
    assert ssim(left, right).tolist() == pytest.approx(ssim(right, left).tolist())


@pytest.mark.parametrize(("size", "applies"), [((10, 32), False), ((32, 10), False), ((11, 11), True)])
def test_needs_one_whole_window(size, applies):
    pictures = torch.rand(2, 1, *size)
    assert (ssim(pictures, pictures) is not None) == applies
    assert "11 x 11" in SSIM_NEEDS


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reconstruction_that_is_nowhere_finite_shares_no_structure(value):
    truth = torch.stack([torch.rand(1, 13, 13), torch.full((1, 13, 13), 0.5)])
    values = ssim(torch.full_like(truth, value), truth)
    assert values.isfinite().all()
    assert (values <= 0).all()


def test_a_nan_pixel_costs_something_but_hides_nothing():
    truth = torch.rand(1, 1, 32, 32)
    guess = truth.clone()
    guess[0, 0, 16, 16] = math.nan
    assert 0.8 < ssim(guess, truth).item() < 1
