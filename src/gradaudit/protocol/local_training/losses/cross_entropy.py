"""Cross entropy over classes: the loss of a classifier, and the default."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ._loss import ClassLoss


@dataclass(frozen=True)
class CrossEntropy(ClassLoss):
    """Mean cross entropy of `[B, K]` logits against `[B]` integer labels or `[B, K]` probabilities."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return nn.functional.cross_entropy(logits, labels)

    def fault(self, logits: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless there are at least two logits and the labels are classes in [0, K)."""
        return one_logit(logits, model) or super().fault(logits, labels, model)


def one_logit(logits: Tensor, model: str) -> str:
    """Return what is wrong with a single logit under cross entropy, or an empty string if there are more."""
    if logits.shape[1] > 1:
        return ""
    return (
        f"{model}: returns one logit, over which cross entropy is 0 whatever the batch contains. Give it one logit for "
        "each class, two for yes and no, or choose training.loss: binary-cross-entropy."
    )
