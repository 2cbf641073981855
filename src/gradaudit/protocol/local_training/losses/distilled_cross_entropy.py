"""The loss of a client that distils: cross entropy, and a second one at a higher temperature."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ....values.errors import AuditError
from ._loss import ClassLoss
from .cross_entropy import one_logit


@dataclass(frozen=True)
class DistilledCrossEntropy(ClassLoss):
    """The distillation loss `alpha CE(z, y) + (1 - alpha) / tau CE(z / tau, t)`, with means over the batch.

    t are the probabilities of the teacher. MGIA (Liu et al., 2023, doi:10.1609/aaai.v37i13.26995) uses this loss for
    the image network; its code trains the client with t = y, and so does this loss if it is given no teacher. Its
    gradient with respect to the logits z is
    `alpha (softmax(z) - y) + (1 - alpha) / tau² (softmax(z / tau) - t)`, over the batch size.

    Args:
        alpha: Share of the plain cross entropy, in [0, 1].
        tau: Temperature, positive.

    Raises:
        AuditError: A value is out of range.
    """

    alpha: float = 0.3
    tau: float = 3.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise AuditError(f"DistilledCrossEntropy: alpha must be in [0, 1]. Found {self.alpha}.")
        if not self.tau > 0:
            raise AuditError(f"DistilledCrossEntropy: tau must be positive. Found {self.tau}.")

    def __call__(self, logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: `[B, K]`.
            labels: `[B]` integers or `[B, K]` probabilities.
            teacher: `[B, K]` probabilities; the labels by default.
        """
        softened = cross_entropy(logits / self.tau, labels if teacher is None else teacher)
        return self.alpha * cross_entropy(logits, labels) + (1 - self.alpha) / self.tau * softened

    def fault(self, logits: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless there are at least two logits and the labels are classes in [0, K)."""
        return one_logit(logits, model) or super().fault(logits, labels, model)
