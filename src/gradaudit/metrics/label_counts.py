"""How much of a batch's labels came back, as numbers per class: no picture and no order is needed.

All take `[K]` counts of examples per class, guessed and true; where a method tells only which classes are present, each
counts once. Guessed counts may be fractional (soft labels) and may sum to less than the batch.
"""

from __future__ import annotations

from torch import Tensor

from ..values.errors import AuditError
from ..values.measures import Metric


def class_existence_accuracy(guess: Tensor, truth: Tensor) -> float:
    """Fraction of the K classes told rightly to be in the batch or not in it (LeAcc of Ma et al., ICLR 2023).

    A class counts as told present from half an example on. High by itself where most classes are absent.

    Args:
        guess: `[K]`, at least 0.
        truth: `[K]` integers, sum B of at least 1.

    Returns:
        A number in [0, 1].

    Raises:
        AuditError: The two are not of one shape `[K]`, the truth is empty, or a count is negative or not finite.
    """
    guess, truth = _checked(guess, truth)
    return ((guess >= 0.5) == (truth > 0)).double().mean().item()


def count_accuracy(guess: Tensor, truth: Tensor) -> float:
    """Fraction of the K classes whose number of examples is told rightly (LnAcc of Ma et al., ICLR 2023).

    Fractional guesses are rounded. High by itself where most classes are absent; read `instance_recall` beside it.

    Args, returns and raises as `class_existence_accuracy`.
    """
    guess, truth = _checked(guess, truth)
    return (guess.round() == truth).double().mean().item()


def instance_recall(guess: Tensor, truth: Tensor) -> float:
    """Fraction of the B examples whose label is among the guessed ones, Σ_k min(n̂_k, n_k) / B (Ma et al., ICLR 2023).

    Args, returns and raises as `class_existence_accuracy`.
    """
    guess, truth = _checked(guess, truth)
    return (guess.minimum(truth).sum() / truth.sum()).item()


def count_error(guess: Tensor, truth: Tensor) -> float:
    """½ ‖n̂ - n‖₁ / B: the share of the labels that would have to move; 0 is perfect.

    With Σ n̂ = B it is 1 - `instance_recall`; a label that was not found costs a half, and so does one too many.

    Args and raises as `class_existence_accuracy`.

    Returns:
        A number of at least 0; at most 1 where the guess sums to B or less.
    """
    guess, truth = _checked(guess, truth)
    return (0.5 * (guess - truth).abs().sum() / truth.sum()).item()


def _checked(guess: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    if guess.shape != truth.shape or truth.ndim != 1:
        raise AuditError(
            f"counts: guess and truth must be of one shape [K], not {[*guess.shape]} and {[*truth.shape]}."
        )
    guess, truth = guess.double().cpu(), truth.double().cpu()
    if not guess.isfinite().all() or (guess < 0).any() or (truth < 0).any() or not truth.sum() >= 1:
        raise AuditError("counts: must be finite and at least 0, and the true ones must sum to 1 or more.")
    return guess, truth


EXISTENCE = Metric(
    key="existence",
    name="class existence accuracy",
    unit="",
    higher_is_better=True,
    meaning="Fraction of all classes of which it is told rightly whether they are in the batch.",
    paper="openreview:FIrQfNSOoTr",
    place=31,
)
COUNTS = Metric(
    key="counts",
    name="count accuracy",
    unit="",
    higher_is_better=True,
    meaning="Fraction of all classes whose number of examples in the batch is told rightly.",
    paper="openreview:FIrQfNSOoTr",
    place=32,
)
RECALL = Metric(
    key="recall",
    name="instance recall",
    unit="",
    higher_is_better=True,
    meaning="Fraction of the examples whose label is among the inferred ones, in whatever order.",
    paper="openreview:FIrQfNSOoTr",
    place=33,
)
COUNT_ERROR = Metric(
    key="count_error",
    name="count error",
    unit="",
    higher_is_better=False,
    meaning="Half the absolute errors of the counts per class, as a share of the batch: 0 for exact counts.",
    paper="arXiv:2405.00955",
    place=34,
)
