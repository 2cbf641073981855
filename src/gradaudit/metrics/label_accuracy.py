"""Label accuracy: the fraction of examples whose label is correct."""

from __future__ import annotations

from torch import Tensor

from ..values.errors import AuditError
from ..values.measures import Metric


def label_accuracy(guess: Tensor, truth: Tensor, order: Tensor) -> float:
    """Return the fraction of examples whose assigned reconstruction has the correct label.

    Args:
        guess: `[B]` integers, labels of the reconstructions in their own order.
        truth: `[B]` integers, labels of the private examples; B at least 1.
        order: `[B]` integers, from `assign` on the inputs: one assignment for inputs and labels.

    Returns:
        A number in [0, 1].

    Raises:
        AuditError: The three tensors do not have the same shape `[B]`, or there is no example.
    """
    if not guess.shape == truth.shape == order.shape or truth.ndim != 1 or not len(truth):
        shapes = ", ".join(str(list(values.shape)) for values in (guess, truth, order))
        raise AuditError(f"labels: guess, truth and order must be of one shape [B], B at least 1, not {shapes}.")
    return (guess.cpu()[order.cpu()] == truth.cpu()).double().mean().item()


METRIC = Metric(
    key="label_accuracy",
    name="label accuracy",
    unit="",
    higher_is_better=True,
    meaning="Fraction of the examples whose label is correct.",
    paper="arXiv:2001.02610",
    place=30,
)
