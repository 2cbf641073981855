import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.metrics import class_existence_accuracy, count_accuracy, count_error, instance_recall
from gradaudit.values.errors import AuditError

ALL = (class_existence_accuracy, count_accuracy, instance_recall, count_error)
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=9)


def test_known_values():
    truth, guess = torch.tensor([2, 0, 1, 1]), torch.tensor([1, 1, 1, 1])
    assert class_existence_accuracy(guess, truth) == 0.75
    assert count_accuracy(guess, truth) == 0.5
    assert instance_recall(guess, truth) == 0.75
    assert count_error(guess, truth) == 0.25


def test_fewer_labels_and_soft_ones():
    truth = torch.tensor([2, 0, 2])
    assert instance_recall(torch.tensor([1, 0, 0]), truth) == 0.25
    assert count_error(torch.tensor([1, 0, 0]), truth) == 0.375
    soft, one = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([1, 0, 0])
    assert class_existence_accuracy(soft, one) == count_accuracy(soft, one) == 1
    assert instance_recall(soft, one) == pytest.approx(0.8)


@given(pairs)
def test_ranges_and_the_truth_itself(counts):
    guess, truth = torch.tensor(counts).T
    if truth.sum() < 1:
        return
    assert [metric(truth, truth) for metric in ALL] == [1, 1, 1, 0]
    assert all(0 <= metric(guess, truth) <= 1 for metric in ALL[:3])
    if guess.sum() == truth.sum():
        assert count_error(guess, truth) == pytest.approx(1 - instance_recall(guess, truth))


@pytest.mark.parametrize("metric", ALL)
def test_refuses_what_is_no_count(metric):
    with pytest.raises(AuditError, match="one shape"):
        metric(torch.ones(2), torch.ones(3))
    for guess, truth in (
        ([-1.0, 2.0], [1, 1]),
        ([1.0, float("nan")], [1, 1]),
        ([1.0, 0.0], [0, 0]),
        ([1.0, 1.0], [-1, 3]),
    ):
        with pytest.raises(AuditError, match="finite and at least 0"):
            metric(torch.tensor(guess), torch.tensor(truth))


@pytest.mark.parametrize("truth", [[-1, 2], [2, -1], [0, 0]])
def test_true_counts_are_checked(truth):
    with pytest.raises(AuditError, match="must be finite and at least 0"):
        count_error(torch.tensor([1.0, 0.0]), torch.tensor(truth))
