import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradaudit.metrics import identification_rank
from gradaudit.values.errors import AuditError

seeds = st.integers(0, 2**32 - 1)


def pictures(seed, count, size=(1, 3, 3)):
    return torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))


def grey(*levels):
    return torch.tensor(levels, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_known_ranks():
    truth, distractors = grey(0.5, 0.5, 0.5), grey(0.125, 0.25, 0.75)
    assert identification_rank(grey(0.5, 0.75, 0.0), truth, distractors).tolist() == [1, 2, 3]


@given(seeds, st.integers(1, 4), st.integers(0, 70))
@settings(deadline=None, max_examples=50)
def test_lies_in_its_range_and_equals_a_sort(seed, count, others):
    guess, truth, distractors = pictures(seed, count), pictures(seed + 1, count), pictures(seed + 2, others)
    ranks = identification_rank(guess, truth, distractors)
    assert ranks.dtype == torch.int64
    for i, rank in enumerate(ranks.tolist()):
        gallery = torch.cat([truth[i : i + 1], distractors]).double()
        errors = (gallery - guess[i].double()).square().mean((1, 2, 3))
        assert rank == errors.argsort().tolist().index(0) + 1
        assert 1 <= rank <= others + 1


@given(seeds, st.integers(1, 70))
@settings(deadline=None, max_examples=50)
def test_an_exact_reconstruction_is_identified(seed, others):
    truth = pictures(seed, 3)
    assert identification_rank(truth, truth, pictures(seed + 1, others)).tolist() == [1, 1, 1]


@given(seeds, st.integers(1, 40), st.sampled_from([(1, 3, 3), (3, 7, 5)]))
@settings(deadline=None, max_examples=50)
def test_ties_count_against_the_attack(seed, copies, size):
    """Copies of the true picture at every place of a block lie at exactly its distance."""
    guess, truth = pictures(seed, 2, size), pictures(seed + 1, 2, size)
    distractors = torch.cat([truth[:1].expand(copies, -1, -1, -1), pictures(seed, 3, size) * 0 + 7])
    alone = identification_rank(guess, truth, distractors[copies:])
    assert identification_rank(guess, truth, distractors)[0] == alone[0] + copies


@given(seeds)
@settings(deadline=None, max_examples=30)
def test_does_not_depend_on_the_order_of_the_gallery(seed):
    guess, truth, distractors = pictures(seed, 3), pictures(seed + 1, 3), pictures(seed + 2, 50)
    assert torch.equal(
        identification_rank(guess, truth, distractors), identification_rank(guess, truth, distractors.flip(0))
    )


def test_without_distractors_every_picture_is_the_nearest():
    assert identification_rank(pictures(0, 2), pictures(1, 2), torch.zeros(0, 1, 3, 3)).tolist() == [1, 1]


def test_a_reconstruction_of_nan_is_last():
    truth, distractors = pictures(0, 2), pictures(1, 9)
    guess = truth.clone()
    guess[0] = math.nan
    guess[1, 0, 0, 0] = math.nan
    assert identification_rank(guess, truth, distractors).tolist() == [10, 1]


@pytest.mark.parametrize(
    ("distractors", "message"),
    [
        (torch.rand(4, 3, 3, 3), "distractors: their shape is"),
        (torch.rand(4, 3, 3), "distractors: images must be"),
        (torch.full((4, 1, 3, 3), math.nan), "distractors: a pixel is NaN"),
    ],
)
def test_refuses(distractors, message):
    with pytest.raises(AuditError, match=message):
        identification_rank(pictures(0, 2), pictures(0, 2), distractors)
