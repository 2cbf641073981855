"""Metrics of a reconstructed text, computed from its token ids.

`counted` says which positions belong to the private text, in contrast to padding and markers such as `[CLS]` that every
text has. Only these positions enter a score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..values.errors import AuditError
from ..values.measures import Compared, Measure, Metric
from ..values.types import Modality

Pair = tuple[list[int], list[int]]


def token_accuracy(guess: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Return the share of the tokens that are correct at their positions (the recovery rate of tokens).

    Args:
        guess: `[B, L]` integers, aligned with `truth`.
        truth: `[B, L]` integers.
        counted: `[B, L]` booleans, at least one true for each text.

    Returns:
        `[B]` float64 in [0, 1].

    Raises:
        AuditError: The shapes differ, or a text has no token to count.
    """
    _check(guess, truth, counted)
    return ((guess == truth) & counted).sum(1).double() / counted.sum(1)


def exact_match(guess: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Return 1 for a text whose tokens are all correct, otherwise 0; arguments as for `token_accuracy`.

    Returns:
        `[B]` float64, 0 or 1.
    """
    _check(guess, truth, counted)
    return ((guess == truth) | ~counted).all(1).double()


def edit_distance(guess: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Return how many tokens to insert, delete or replace to turn the guess into the text (Levenshtein, 1966).

    Args:
        guess: `[B, L]` integers, aligned with `truth`.
        truth: `[B, L]` integers.
        counted: `[B, L]` booleans, at least one true per text.

    Returns:
        `[B]` float64, 0 for equal texts.
    """
    _check(guess, truth, counted)
    return torch.tensor([levenshtein(*pair) for pair in _pairs(guess, truth, counted)], dtype=torch.float64)


def bag_of_tokens(guess: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Return the F1 score between the distinct tokens of the whole batch and those of the reconstruction.

    Texts and positions are ignored. The score measures what an attack reveals that does not recover the order of
    tokens: the scores of a single text miss this, because its tokens may be in another text. It is one value for the
    whole batch, so that wrong tokens lower it. Every position of the guess counts, except markers and padding.

    Args:
        guess: `[B, L]` integers.
        truth: `[B, L]` integers.
        counted: `[B, L]` booleans, at least one true per text.

    Returns:
        `[B]` float64 in [0, 1], all equal.
    """
    _check(guess, truth, counted)
    there = set(truth[counted].tolist())
    found = set(guess.flatten().tolist()) - (set(truth[~counted].tolist()) - there)
    return torch.full((len(truth),), 2 * len(found & there) / (len(found) + len(there)), dtype=torch.float64)


def levenshtein(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the least number of insertions, deletions and replacements between two sequences."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row = row, [i]
        for j, b in enumerate(second, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def text_costs(guess: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Return the cost of assigning each guess to each text: 1 minus the mean of token accuracy and token F1.

    Token F1 is the harmonic mean of precision and recall over bags of tokens, like ROUGE-1 on tokens in place of words.
    It identifies the text of the tokens if their order is lost, and the accuracy decides between equal bags.

    Args:
        guess: `[B, L]` integers, in any order.
        truth: `[B, L]` integers.
        counted: `[B, L]` booleans, the counted positions of `truth`.

    Returns:
        `[B, B]` float64 in [0, 1]; a row for each text, a column for each guess.
    """
    _check(guess, truth, counted)
    size = len(truth)
    costs = torch.empty(size, size, dtype=torch.float64)
    for i in range(size):
        places = counted[i]
        text = truth[i][places].tolist()
        for j in range(size):
            tokens = guess[j][places].tolist()
            right = sum(a == b for a, b in zip(tokens, text, strict=True)) / len(text)
            costs[i, j] = 1 - (right + token_f1(tokens, text)) / 2
    return costs


def token_f1(guess: Sequence[int], truth: Sequence[int]) -> float:
    """Return the F1 score over bags of tokens, in [0, 1]; 0 if either side is empty."""
    common = sum((Counter(guess) & Counter(truth)).values())
    return 2 * common / (len(guess) + len(truth)) if common else 0.0


def _pairs(guess: Tensor, truth: Tensor, counted: Tensor) -> list[Pair]:
    rows = zip(guess, truth, counted, strict=True)
    return [(g[places].tolist(), t[places].tolist()) for g, t, places in rows]


def _check(guess: Tensor, truth: Tensor, counted: Tensor) -> None:
    if not guess.shape == truth.shape == counted.shape or truth.ndim != 2:
        shapes = ", ".join(str(list(side.shape)) for side in (guess, truth, counted))
        raise AuditError(f"texts: guess, truth and counted must be of one shape [B, L], not {shapes}.")
    if not counted.any(1).all():
        raise AuditError("texts: a text has no token besides padding and markers; remove empty texts.")


def _of(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Compared], Tensor]:
    def compute(compared: Compared) -> Tensor:
        assert compared.counted is not None
        return function(compared.guess, compared.truth, compared.counted)

    return compute


TOKENS = Measure(
    metric="token_accuracy",
    name="token accuracy",
    noun="text",
    unit="%",
    gain_unit="points",
    factor=100,
    digits=0,
    recovered_gain=0.25,
    recovered=0.9,
    trace_gain=0.25,
    ceiling=0.75,  # from a higher control the gain cannot be reached
    line="trace",
    also=("rouge1", "bag_of_tokens"),  # words without their positions, or without their text, are a trace too
)
TOKEN_ACCURACY = Metric(
    key="token_accuracy",
    name="token accuracy",
    unit="",
    higher_is_better=True,
    meaning="Share of a text's tokens that are correct at their positions, without markers and padding.",
    paper="arXiv:2103.06819",
    modality=Modality.TEXT,
    compute=_of(token_accuracy),
    headline=TOKENS,
    place=10,
)
EXACT_MATCH = Metric(
    key="exact_match",
    name="exact match",
    unit="",
    higher_is_better=True,
    meaning="1 if every token of the text is correct at its position, otherwise 0.",
    paper="doi:10.18653/v1/D16-1264",
    modality=Modality.TEXT,
    compute=_of(exact_match),
    place=11,
)
BAG_OF_TOKENS = Metric(
    key="bag_of_tokens",
    name="bag of tokens (F1)",
    unit="",
    higher_is_better=True,
    meaning="F-measure of the batch's distinct tokens and the reconstructed ones, in any text and position.",
    paper="arXiv:1805.04049",
    modality=Modality.TEXT,
    compute=_of(bag_of_tokens),
    place=15,
)
EDIT_DISTANCE = Metric(
    key="edit_distance",
    name="edit distance",
    unit="tokens",
    higher_is_better=False,
    meaning="Number of tokens to insert, delete or replace to get the text.",
    paper="doi:10.1145/321796.321811",
    modality=Modality.TEXT,
    compute=_of(edit_distance),
    place=16,
)
