"""Binary cross entropy: one logit for yes or no, or one for each of several labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ._loss import Loss, in_range, wrong_labels


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Mean binary cross entropy of one logit for each example, `[B]` or `[B, 1]`, against `[B]` integers, 0 or 1."""

    output: ClassVar[str] = "one logit for each example, [{count}] or [{count}, 1]"
    classes: ClassVar[bool] = True

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        logits = output.reshape(labels.shape)
        return binary_cross_entropy_with_logits(logits, labels.to(logits))

    def fits(self, output: Any, count: int) -> bool:
        """Return whether the output is `[B]` or `[B, 1]`."""
        return isinstance(output, Tensor) and output.shape in ((count,), (count, 1)) and output.is_floating_point()

    def fault(self, output: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless the labels are integers, 0 or 1."""
        if labels.ndim != 1 or labels.is_floating_point():
            return wrong_labels("classes [B], integers 0 or 1", labels)
        if not in_range(labels, 0, 1):
            return (
                f"labels: must be 0 or 1 under binary cross entropy. Found {int(labels.min())} to {int(labels.max())}; "
                "fix the labels, or choose training.loss: cross-entropy."
            )
        return ""

    def count(self, output: Tensor) -> int:
        """Return 2, the classes no and yes."""
        return 2

    def correct(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return whether the logit is positive for yes and not for no."""
        return ((output.reshape(labels.shape) > 0) == (labels > 0)).float()

    def width(self, labels: Tensor | None) -> int:
        """Return 1, a single logit."""
        return 1


@dataclass(frozen=True)
class MultiLabel(Loss):
    """Mean binary cross entropy of `[B, K]` logits against `[B, K]` labels in [0, 1], several of which may apply."""

    output: ClassVar[str] = "logits [{count}, labels]"

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar: the mean over examples and labels."""
        return binary_cross_entropy_with_logits(output, labels.detach().to(output))

    def fits(self, output: Any, count: int) -> bool:
        """Return whether the output is `[B, K]`."""
        return isinstance(output, Tensor) and output.ndim == 2 and len(output) == count and output.is_floating_point()

    def fault(self, output: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless the labels are `[B, K]` in [0, 1]."""
        if labels.shape != output.shape:
            return wrong_labels(f"labels [B, {output.shape[1]}] in [0, 1], one for each logit of {model}", labels)
        if not in_range(labels, 0, 1):
            return "labels: must lie in [0, 1] under multi-label, 1 where a label applies. Fix the labels."
        return ""

    def width(self, labels: Tensor | None) -> int | None:
        """Return one logit for each label, or `None` if the labels are not `[N, K]`."""
        return labels.shape[1] if labels is not None and labels.ndim == 2 else None

    def correct(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return the share of labels whose logit is positive exactly if the label is above one half."""
        return ((output > 0) == (labels > 0.5)).float().mean(1)
