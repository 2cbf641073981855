import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.inversion.parts.labels._counting import onto_simplex, present, round_to_total, separation, wholeness
from gradaudit.inversion.parts.labels.ilrg import rounded
from label_cases import observe, relu_net

scores = st.lists(st.floats(-50, 50), min_size=1, max_size=12)


@given(scores, st.integers(0, 40), st.integers(0, 2))
def test_rounding_gives_whole_numbers_of_the_right_sum(raw, spare, least):
    total = spare + least * len(raw)
    found = round_to_total(torch.tensor(raw, dtype=torch.float64), total, least)
    assert found.dtype == torch.int64
    assert int(found.sum()) == total
    assert int(found.min()) >= least


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_rounding_leaves_whole_numbers_alone(counts):
    counts = torch.tensor(counts)
    assert torch.equal(round_to_total(counts.double() + 1e-13, int(counts.sum())), counts)


def test_largest_remainders_get_the_last_units():
    assert round_to_total(torch.tensor([1.6, 1.3, 0.1, 3.0]).double(), 6).tolist() == [2, 1, 0, 3]
    assert round_to_total(torch.tensor([[0.4, 0.3, 0.3], [9.0, -9.0, 1.0]]).double(), 1).tolist() == [
        [1, 0, 0],
        [1, 0, 0],
    ]
    assert round_to_total(torch.tensor([0.0, 0.0, 4.0]).double(), 4, least=1).tolist() == [1, 1, 2]


@given(scores, st.floats(0.0, 30))
def test_the_simplex_point_is_the_nearest(raw, total):
    raw = torch.tensor(raw, dtype=torch.float64)
    point = onto_simplex(raw, total)
    assert (point >= 0).all()
    assert float(point.sum()) == pytest.approx(total, abs=1e-9)
    # Nearest: what was taken off is one number on the entries that stay, and reaches below zero on the others.
    shift = raw - point
    held = point > 1e-12
    if held.any():
        assert torch.allclose(shift[held], shift[held][0], atol=1e-9)
        assert (raw[~held] <= shift[held][0] + 1e-9).all()


def test_confidence_is_the_margin_of_the_rounding():
    counts = torch.tensor([2, 1, 0])
    assert wholeness(counts.double(), counts) == 1
    assert wholeness(torch.tensor([1.7, 1.3, 0.0]).double(), counts) == pytest.approx(0.4)
    assert wholeness(torch.tensor([-90.0, 90.0, 0.0]), counts) == 0


def test_separation_is_the_gap_as_a_share_of_the_range():
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0])
    assert separation(values, values < -0.5) == pytest.approx(0.5)
    assert separation(values, values > 9) == 0
    assert separation(torch.zeros(3), torch.tensor([True, False, False])) == 0
    assert separation(values, torch.tensor([True, True, True, True])) == 0
    assert separation(values - 3, torch.tensor([True, True, True, True])) == 1


def test_a_set_of_classes_says_what_it_does_not_know():
    seen = observe([0, 1, 1], relu_net())
    values = torch.tensor([-3.0, -2.0, -1.0, *[1.0] * 7])
    three, two = present(seen, values, values < 0), present(seen, values, values < -1.5)
    assert three.values.tolist() == [0, 1, 2]
    assert three.counts.tolist() == [1, 1, 1, *[0] * 7]
    assert three.notes == ()
    assert two.counts is None
    assert two.notes == ("2 classes found for 3 examples; which of them repeat or are missing is unknown.",)
    many = present(seen, values, values < 2)
    assert many.values.tolist() == [0, 1, 2]
    assert many.notes[0].startswith("10 classes look present in a batch of 3")


@pytest.mark.parametrize(
    ("raw", "size", "counts"),
    [
        ([2.4, 1.7, -0.3, 0.2], 4, [2, 2, 0, 0]),
        ([2.4, 1.4, 0.4, -9.0], 5, [3, 1, 1, 0]),  # two short: where rounding took most
        ([1.6, 1.6, 1.8, 0.0], 5, [2, 1, 2, 0]),  # one too many: where rounding gave most
        ([30.0, 1.2, 0.9, 0.0], 4, [1, 2, 1, 0]),  # more than the batch is no solution
    ],
)
def test_ilrg_rounds_as_its_authors_do(raw, size, counts):
    assert rounded(torch.tensor(raw).double(), size).tolist() == counts


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=12), st.integers(1, 200))
def test_ilrg_rounds_to_counts_of_the_batch(raw, size):
    found = rounded(torch.tensor(raw, dtype=torch.float64), size)
    assert int(found.sum()) == size
    assert int(found.min()) >= 0


def test_rounding_moves_to_the_nearest_point_above_the_least():
    """From -5 and 9 with a sum of 4 and at least one of each: 1 and 3, not a point that the least has moved."""
    assert round_to_total(torch.tensor([-5.0, 9.0]).double(), 4, least=1).tolist() == [1, 3]
    assert round_to_total(torch.tensor([3.0, 1.0, 0.2]).double(), 5, least=1).tolist() == [3, 1, 1]
    batched = torch.tensor([[0.6, 0.4, 1.0], [1.0, 0.4, 0.6]]).double()
    assert round_to_total(batched, 2).tolist() == [[1, 0, 1], [1, 0, 1]]
    even = torch.full((40,), 0.5).double()  # ties go to the first
    assert round_to_total(even, 20).tolist() == [1] * 20 + [0] * 20


def test_nothing_is_separated_from_nothing():
    values = torch.tensor([-3.0, -1.0])
    assert separation(values, torch.tensor([True, True])) == pytest.approx(0.5)  # from zero
    assert separation(values, torch.tensor([True, False])) == 1
    assert separation(values, torch.tensor([False, False])) == 0


def test_counts_that_go_over_are_put_right_one_by_one():
    assert rounded(torch.tensor([1.6, 1.6, 0.4]), 3).tolist() in ([2, 1, 0], [1, 2, 0])
    assert rounded(torch.tensor([0.4, 0.4, 0.4]), 1).sum() == 1
    assert rounded(torch.tensor([9.0, 1.2, 0.0]), 3).tolist()[1] >= 1
    assert rounded(torch.tensor([2.0, 1.0, -4.0]), 3).tolist() == [2, 1, 0]
