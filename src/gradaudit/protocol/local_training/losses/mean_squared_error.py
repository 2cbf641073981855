"""Mean squared error: the loss of regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ._loss import Loss, wrong_labels


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Mean squared error of `[B]`, `[B, 1]` or `[B, D]` numbers against `[B]` or `[B, D]` targets."""

    output: ClassVar[str] = "numbers [{count}] or [{count}, D]"

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar: the mean over examples and numbers."""
        return (output.reshape(labels.shape) - labels.to(output)).square().mean()

    def fits(self, output: Any, count: int) -> bool:
        """Return whether the output is `[B]` or `[B, D]`."""
        right = isinstance(output, Tensor) and output.ndim in (1, 2) and len(output) == count
        return right and output.is_floating_point()

    def fault(self, output: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless there is one finite target for each number that the model returns."""
        shapes = {output.shape, output.shape[:1]} if output[0].numel() == 1 else {output.shape}
        if labels.shape not in (*shapes, (*output.shape, 1)[:2] if output.ndim == 1 else output.shape):
            return wrong_labels(f"targets {list(output.shape)}, one for each number that {model} returns", labels)
        if not torch.isfinite(labels).all():
            return "labels: a target is NaN or infinite; fix the labels."
        return ""

    def width(self, labels: Tensor | None) -> int:
        """Return one number for each target."""
        return labels.shape[1] if labels is not None and labels.ndim == 2 else 1
