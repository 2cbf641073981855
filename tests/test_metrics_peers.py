"""Mistakes that other libraries make when they score a reconstruction, one test each, on pictures where they show.

B17, the wrong scale for the perceptual network, is `test_feeds_minus_1_to_1` in test_metrics_lpips.py.
"""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from gradaudit.metrics import assign, identification_rank, label_accuracy, mean_interval, psnr, ssim
from gradaudit.values.types import Normalisation


@pytest.fixture
def truth():
    """Four smooth pictures, far from one another."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear").clamp(0.1, 0.9)


@pytest.fixture
def guess(truth):
    """Each picture with noise of standard deviation 0.05, about 26 dB."""
    return truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))


def test_each_example_is_compared_with_its_own_truth_alone(truth, guess):
    """B16: one picture was compared with the whole reference batch."""
    whole = psnr(guess, truth)
    for i in range(len(truth)):
        assert psnr(guess[i : i + 1], truth[i : i + 1]).item() == whole[i].item()
        assert ssim(guess[i : i + 1], truth[i : i + 1]).item() == pytest.approx(ssim(guess, truth)[i].item())


def test_one_exact_example_does_not_make_the_mean_infinite(truth, guess):
    """B18: one exact picture made the batch's PSNR infinite."""
    guess[0] = truth[0]
    values = psnr(guess, truth)
    assert values[0] == 100.0
    assert mean_interval(values).mean == pytest.approx((100.0 + values[1:].sum().item()) / 4)
    assert mean_interval(values).mean < 60


def test_one_nan_does_not_make_the_mean_nan(truth, guess):
    """B18: one NaN made the batch's PSNR NaN."""
    before = psnr(guess, truth)
    guess[0, 0, 0, 0] = math.nan
    after = psnr(guess, truth)
    assert math.isfinite(mean_interval(after).mean)
    assert after[0] < before[0]
    assert torch.equal(after[1:], before[1:])


def test_psnr_is_averaged_over_the_batch_not_summed(truth, guess):
    """L2: four pictures at 26 dB were reported as 56 dB."""
    assert psnr(guess, truth).shape == (4,)
    assert mean_interval(psnr(guess, truth)).mean == pytest.approx(26, abs=0.5)


@pytest.mark.parametrize("side", ["reconstruction", "truth"])
def test_data_range_is_1_on_denormalised_clamped_pictures(truth, guess, side):
    """L2, G2: pixels in normalised units were compared with a data range of 1, or of whatever they spanned."""
    normalisation = Normalisation((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
    pictures = {"reconstruction": guess * 1.3, "truth": truth}
    pictures[side] = normalisation.invert(normalisation.apply(pictures[side]))
    ours = psnr(pictures["reconstruction"], pictures["truth"])
    clamped = (guess * 1.3).clamp(0, 1).double()
    assert not torch.equal(clamped, (guess * 1.3).double())
    theirs = [
        peak_signal_noise_ratio(t.double().numpy(), g.numpy(), data_range=1.0)
        for g, t in zip(clamped, truth, strict=True)
    ]
    assert ours.tolist() == pytest.approx(theirs, abs=1e-4)


def test_data_range_does_not_follow_the_content():
    """L3, G2: a dark picture is not stretched to the whole range before it is compared."""
    dark = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.1
    assert psnr(dark + 0.1, dark).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(dark + 0.7, dark + 0.6).item() == pytest.approx(20.0, abs=1e-4)


def test_copies_of_one_picture_do_not_beat_the_right_batch(truth, guess):
    """L3: the best original for each reconstruction, not one to one, so that four copies of one picture won."""
    copies = guess[2:3].expand(4, -1, -1, -1)
    order = assign(copies, truth)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    assert psnr(copies[order], truth).mean() < psnr(guess, truth).mean() - 5
    assert ssim(copies[order], truth).mean() < ssim(guess[assign(guess, truth)], truth).mean()
    gallery = [truth[torch.arange(4) != i] for i in range(4)]
    ranks = [identification_rank(copies[i : i + 1], truth[i : i + 1], gallery[i]).item() for i in range(4)]
    assert ranks.count(1) == 1


@pytest.mark.parametrize("cycle", [(1, 2, 0, 3), (2, 0, 1, 3), (1, 2, 3, 0), (3, 0, 1, 2), (2, 3, 1, 0), (1, 0, 2, 3)])
def test_assignment_is_applied_in_the_right_direction(truth, guess, cycle):
    """L4: the inverse permutation was applied, right by luck where it is its own inverse."""
    shuffled = guess[list(cycle)]
    order = assign(shuffled, truth)
    assert torch.equal(shuffled[order], guess)
    assert psnr(shuffled[order], truth).tolist() == psnr(guess, truth).tolist()
    labels = torch.tensor([4, 5, 6, 7])
    assert label_accuracy(labels[list(cycle)], labels, order) == 1.0


def test_a_fixed_order_is_not_taken_for_granted(truth, guess):
    """G2: examples were compared in the order in which they came back."""
    shuffled = guess.flip(0)
    assert psnr(shuffled, truth).mean() < 20
    assert psnr(shuffled[assign(shuffled, truth)], truth).mean() > 25


def test_one_assignment_serves_every_metric():
    """G3: each metric picked its own best target. Here SSIM would match crosswise; it is not asked."""
    stripes = (torch.arange(16) % 2).float().expand(1, 16, 16)
    truth = torch.stack([0.45 + 0.1 * stripes, torch.full((1, 16, 16), 0.1)])
    guess = torch.stack([torch.full((1, 16, 16), 0.5), 0.05 + 0.1 * stripes])
    order = assign(guess, truth)
    assert order.tolist() == [0, 1]
    crosswise = ssim(guess.flip(0), truth)
    assert crosswise[0] > ssim(guess[order], truth)[0]
    assert identification_rank(guess[order], truth, torch.zeros(0, 1, 16, 16)).tolist() == [1, 1]
