import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.metrics import assign
from gradaudit.values.errors import AuditError


def pictures(seed, count, size=(1, 3, 3)):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 2**32 - 1), st.permutations(range(6)))
@settings(deadline=None)
def test_inverts_every_permutation_exactly(seed, order):
    truth = pictures(seed, 6)
    shuffled = truth[torch.tensor(order)]
    assert torch.equal(shuffled[assign(shuffled, truth)], truth)


@given(st.integers(0, 2**32 - 1), st.permutations(range(5)))
@settings(deadline=None)
def test_inverts_a_permutation_of_noisy_pictures(seed, order):
    truth = torch.linspace(0, 1, 5).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    noisy = truth + 0.1 * (pictures(seed, 5, (1, 4, 4)) - 0.5)
    shuffled = noisy[torch.tensor(order)]
    assert torch.equal(shuffled[assign(shuffled, truth)], noisy)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
@settings(deadline=None)
def test_total_error_is_the_least_of_all_permutations(seed, count):
    truth, guess = pictures(seed, count), pictures(seed + 1, count)

    def total(order):
        return (guess[list(order)].double() - truth.double()).square().mean((1, 2, 3)).sum().item()

    least = min(total(order) for order in itertools.permutations(range(count)))
    assert total(assign(guess, truth).tolist()) == pytest.approx(least)


def test_is_a_permutation_of_int64():
    order = assign(pictures(0, 7), pictures(1, 7))
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(7))


def test_compares_clamped_pictures():
    truth = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    guess = torch.tensor([50.0, -50.0]).view(2, 1, 1, 1)
    assert assign(guess, truth).tolist() == [1, 0]


def test_reconstructions_of_nan_take_what_is_left():
    truth = pictures(0, 4)
    guess = truth[[3, 0, 2, 1]].clone()
    guess[0] = math.nan  # that of example 3
    assert assign(guess, truth).tolist() == [1, 3, 2, 0]


def test_refuses_other_numbers_of_pictures():
    with pytest.raises(AuditError, match="its shape is"):
        assign(pictures(0, 3), pictures(0, 4))
