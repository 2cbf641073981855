"""Metrics of text: hand-worked cases, and the ROUGE library behind them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit import metrics
from gradaudit.metrics.token_metrics import levenshtein, token_f1
from gradaudit.values.errors import AuditError

TRUTH = torch.tensor([[7, 1, 2, 3, 8, 0], [7, 4, 5, 8, 0, 0]])  # 7 opens, 8 closes, 0 pads
COUNTED = torch.tensor([[0, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0]], dtype=torch.bool)


def test_the_truth_scores_full_marks():
    assert metrics.token_accuracy(TRUTH, TRUTH, COUNTED).tolist() == [1, 1]
    assert metrics.exact_match(TRUTH, TRUTH, COUNTED).tolist() == [1, 1]
    assert metrics.edit_distance(TRUTH, TRUTH, COUNTED).tolist() == [0, 0]


def test_only_what_counts_enters():
    guess = TRUTH.masked_fill(~COUNTED, 9)
    guess[0, 2] = 9
    assert metrics.token_accuracy(guess, TRUTH, COUNTED).tolist() == pytest.approx([2 / 3, 1])
    assert metrics.exact_match(guess, TRUTH, COUNTED).tolist() == [0, 1]
    assert metrics.edit_distance(guess, TRUTH, COUNTED).tolist() == [1, 0]


def test_words_out_of_place_are_near_but_not_right():
    shifted = torch.tensor([[7, 3, 1, 2, 8, 0], [7, 5, 4, 8, 0, 0]])
    assert metrics.token_accuracy(shifted, TRUTH, COUNTED).tolist() == [0, 0]
    assert metrics.edit_distance(shifted, TRUTH, COUNTED).tolist() == [2, 2]


def test_tokens_in_another_text_count_in_the_bag_alone():
    swapped = torch.tensor([[7, 5, 4, 9, 8, 0], [7, 3, 2, 8, 0, 0]])  # 4 5 9 | 3 2 for 1 2 3 | 4 5
    assert metrics.bag_of_tokens(swapped, TRUTH, COUNTED).tolist() == pytest.approx([0.8, 0.8])  # 4 of 5, 4 of 5
    assert metrics.bag_of_tokens(TRUTH, TRUTH, COUNTED).tolist() == [1, 1]
    assert metrics.bag_of_tokens(torch.full_like(TRUTH, 99), TRUTH, COUNTED).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("first", "second", "edits"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("same", "same", 0)],
)
def test_levenshtein(first, second, edits):
    assert levenshtein([ord(c) for c in first], [ord(c) for c in second]) == edits


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 3), max_size=6))
def test_levenshtein_is_a_distance(first, second):
    edits = levenshtein(first, second)
    assert edits == levenshtein(second, first)
    assert (edits == 0) == (first == second)
    assert abs(len(first) - len(second)) <= edits <= max(len(first), len(second))


@given(st.permutations(range(5)), st.integers(0, 2**31))
def test_texts_find_their_guesses_in_any_order(order, seed):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randperm(40, generator=generator).view(5, 8)
    counted = torch.ones_like(truth, dtype=torch.bool)
    guess = truth[list(order)].clone()
    guess[:, :3] = 99
    found = metrics.assign_at_cost(metrics.text_costs(guess, truth, counted))
    assert torch.equal(guess[found][:, 3:], truth[:, 3:])


def test_shuffled_words_find_their_text_and_equal_words_go_by_their_places():
    truth = torch.tensor([[1, 2, 3, 4], [1, 3, 2, 4]])
    counted = torch.ones_like(truth, dtype=torch.bool)
    assert metrics.assign_at_cost(metrics.text_costs(truth.flip(0), truth, counted)).tolist() == [1, 0]
    other = torch.tensor([[5, 6, 7, 8], [4, 3, 2, 1]])
    assert metrics.assign_at_cost(
        metrics.text_costs(other, torch.tensor([[1, 2, 3, 4], [5, 5, 6, 9]]), counted)
    ).tolist() == [1, 0]


def test_token_f1_by_hand():
    assert token_f1([1, 1, 2], [1, 2, 2]) == pytest.approx(2 / 3)
    assert token_f1([], [1]) == 0


def test_rouge_by_hand():
    pytest.importorskip("rouge_score")
    found = metrics.rouge(
        ["the cat sat on mats", "no words in common"], ["the cat lay on the mat", "entirely other things"]
    )
    # Common words: the, cat, on. Precision 3/5, recall 3/6. One common pair, of 4 and 5. Longest sequence: 3.
    assert found["rouge1"].tolist() == pytest.approx([6 / 11, 0])
    assert found["rouge2"].tolist() == pytest.approx([2 / 9, 0])
    assert found["rougeL"].tolist() == pytest.approx([6 / 11, 0])


def test_rouge_without_the_library_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    assert metrics.rouge(["a"], ["a"]) is None
    assert "gradaudit[text]" in metrics.ROUGE_NEEDS


ALL = (
    metrics.token_accuracy,
    metrics.exact_match,
    metrics.edit_distance,
    metrics.bag_of_tokens,
    metrics.text_costs,
)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("guess", [TRUTH[:1], TRUTH[:, :3], TRUTH[:, :1]])
def test_other_shapes_are_refused(metric, guess):
    with pytest.raises(AuditError, match=r"one shape \[B, L\]"):
        metric(guess, TRUTH, COUNTED)


def test_costs_of_texts_by_hand():
    """1 minus the mean of accuracy and F1: half of the tokens right, and all of them somewhere."""
    truth, counted = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.ones(2, 4, dtype=torch.bool)
    guess = torch.tensor([[1, 2, 4, 3], [5, 9, 9, 9]])
    assert metrics.text_costs(guess, truth, counted).tolist() == [[0.25, 1], [1, 0.75]]
    hidden = torch.tensor([[True, True, False, False], [True, True, True, True]])
    assert metrics.text_costs(guess, truth, hidden)[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    "metric",
    [metrics.token_accuracy, metrics.exact_match, metrics.edit_distance, metrics.bag_of_tokens, metrics.text_costs],
    ids=lambda metric: metric.__name__,
)
def test_every_score_refuses_what_does_not_fit(metric):
    with pytest.raises(AuditError, match=r"one shape \[B, L\]"):
        metric(TRUTH[:1], TRUTH, COUNTED)
    for counted in (torch.zeros_like(COUNTED), COUNTED & torch.tensor([[True], [False]])):
        with pytest.raises(AuditError, match="no token besides padding"):
            metric(TRUTH, TRUTH, counted)


def test_costs_go_from_0_for_the_text_to_1_for_no_word_of_it():
    counted = torch.ones(2, 4, dtype=torch.bool)
    truth, guess = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), torch.tensor([[1, 2, 3, 4], [8, 7, 6, 5]])
    assert metrics.text_costs(guess, truth, counted).tolist() == [[0, 1], [1, 0.5]]
