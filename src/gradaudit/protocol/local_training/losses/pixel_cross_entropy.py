"""Cross entropy for each pixel: the loss of semantic segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from ._loss import Loss, in_range, wrong_labels


@dataclass(frozen=True)
class PixelCrossEntropy(Loss):
    """Mean cross entropy over all pixels of `[B, K, H, W]` logits against `[B, H, W]` integer masks."""

    output: ClassVar[str] = "logits [{count}, classes, H, W]"

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        return cross_entropy(output, labels)

    def fits(self, output: Any, count: int) -> bool:
        """Return whether the output is `[B, K, H, W]` with at least two classes."""
        return isinstance(output, Tensor) and output.ndim == 4 and len(output) == count and output.shape[1] > 1

    def fault(self, output: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless the labels are `[B, H, W]`, the class of each pixel."""
        shape = (len(output), *output.shape[2:])
        if labels.shape != shape or labels.is_floating_point():
            return wrong_labels(f"masks {list(shape)}, integers, of the size that {model} returns", labels)
        if not in_range(labels, 0, output.shape[1] - 1):
            return (
                f"labels: pixels of a mask must be in 0...{output.shape[1] - 1}, the classes of {model}. Found "
                f"{int(labels.min())} to {int(labels.max())}; fix the masks."
            )
        return ""

    def correct(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return the share of pixels whose largest logit is that of their class."""
        return (output.argmax(1) == labels).float().flatten(1).mean(1)
