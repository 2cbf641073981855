import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.metrics import label_accuracy
from gradaudit.values.errors import AuditError


def test_known_value():
    guess, truth = torch.tensor([5, 3, 7, 9]), torch.tensor([3, 5, 7, 1])
    assert label_accuracy(guess, truth, torch.tensor([1, 0, 2, 3])) == 0.75
    assert label_accuracy(guess, truth, torch.arange(4)) == 0.25


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_undoes_the_order_of_the_reconstructions(labels, random):
    truth = torch.tensor(labels)
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = truth[torch.tensor(order)]  # reconstruction k is of example order[k]
    back = torch.tensor(order).argsort()  # example i is in reconstruction back[i]
    assert label_accuracy(shuffled, truth, back) == 1.0


@pytest.mark.parametrize(
    ("guess", "truth", "order"), [((2,), (3,), (3,)), ((3,), (3,), (2,)), ((0,), (0,), (0,)), ((2, 2), (2, 2), (2, 2))]
)
def test_refuses_unequal_or_empty(guess, truth, order):
    with pytest.raises(AuditError, match="labels: guess, truth and order"):
        label_accuracy(*(torch.zeros(shape, dtype=torch.int64) for shape in (guess, truth, order)))
