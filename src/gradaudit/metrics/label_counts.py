"""Metrics of inferred label counts, which need neither reconstructions nor an order of the examples.

All metrics take `[K]` counts of examples for each class, inferred and true. If a method infers only which classes are
present, each counts once. Inferred counts may be fractional (soft labels) and may sum to less than the batch.
"""

from __future__ import annotations

from torch import Tensor

from ..values.errors import AuditError
from ..values.measures import Metric


def class_existence_accuracy(guess: Tensor, truth: Tensor) -> float:
    """Return the fraction of the K classes correctly inferred as present or absent (LeAcc of Ma et al., ICLR 2023).

    A class is inferred as present if its count is at least one half. The value is high by chance if most classes are
    absent.

    Args:
        guess: `[K]`, at least 0.
        truth: `[K]` integers, sum B of at least 1.

    Returns:
        A number in [0, 1].

    Raises:
        AuditError: The shapes are not `[K]` and equal, the truth is empty, or a count is negative or not finite.
    """
    guess, truth = _checked(guess, truth)
    return ((guess >= 0.5) == (truth > 0)).double().mean().item()


def count_accuracy(guess: Tensor, truth: Tensor) -> float:
    """Return the fraction of the K classes whose count is correct (LnAcc of Ma et al., ICLR 2023).

    Fractional counts are rounded. The value is high by chance if most classes are absent, so compare `instance_recall`.
    Arguments, range and errors are those of `class_existence_accuracy`.
    """
    guess, truth = _checked(guess, truth)
    return (guess.round() == truth).double().mean().item()


def instance_recall(guess: Tensor, truth: Tensor) -> float:
    """Return the fraction of the B examples whose label is among the inferred ones (Ma et al., ICLR 2023).

    The value is Σ_k min(n̂_k, n_k) / B. Arguments, range and errors are those of `class_existence_accuracy`.
    """
    guess, truth = _checked(guess, truth)
    return (guess.minimum(truth).sum() / truth.sum()).item()


def count_error(guess: Tensor, truth: Tensor) -> float:
    """Return ½ ‖n̂ - n‖₁ / B, the share of the labels that would have to change class; 0 is perfect.

    If Σ n̂ = B, it equals 1 - `instance_recall`. A missing label costs one half of an example, and so does a label too
    many. Arguments and errors are those of `class_existence_accuracy`.

    Returns:
        A number of at least 0, and at most 1 if the inferred counts sum to B or less.
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
        raise AuditError("counts: must be finite and at least 0, and the true counts must sum to 1 or more.")
    return guess, truth


EXISTENCE = Metric(
    key="existence",
    name="class existence accuracy",
    unit="",
    higher_is_better=True,
    meaning="Fraction of all classes correctly inferred as present in the batch or absent from it.",
    paper="openreview:FIrQfNSOoTr",
    place=31,
)
COUNTS = Metric(
    key="counts",
    name="count accuracy",
    unit="",
    higher_is_better=True,
    meaning="Fraction of all classes whose number of examples in the batch is inferred correctly.",
    paper="openreview:FIrQfNSOoTr",
    place=32,
)
RECALL = Metric(
    key="recall",
    name="instance recall",
    unit="",
    higher_is_better=True,
    meaning="Fraction of the examples whose label is among the inferred ones, in any order.",
    paper="openreview:FIrQfNSOoTr",
    place=33,
)
COUNT_ERROR = Metric(
    key="count_error",
    name="count error",
    unit="",
    higher_is_better=False,
    meaning="Half the sum of the absolute errors of the class counts, divided by the batch size: 0 for exact counts.",
    paper="arXiv:2405.00955",
    place=34,
)
