"""The base class of the losses: which outputs and labels a loss takes, and whether its labels are classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....values.errors import AttackFailed, AuditError
from ....values.types import LossFunction


class Loss(ABC):
    """A training loss of a client over a model's output of any shape: a frozen dataclass whose fields are its options.

    A subclass in a module of `protocol/local_training/losses/` is registered automatically, under its own `name` or the
    name of the class in lower case with hyphens. Another package adds one through the entry points `gradaudit.losses`.

    Attributes:
        output: What the model must return, as a phrase; `{count}` stands for the number of examples.
        classes: Whether labels are `[B]` integers, the class of each example.
        inferable: Whether the output is `[B, K]`, a logit for each class, so that an attack can infer labels from the
            update or optimise them from random logits `[B, K]`. Under any other loss LABELS must be granted.
    """

    name: ClassVar[str] = ""
    output: ClassVar[str] = "logits [{count}, classes]"
    classes: ClassVar[bool] = False
    inferable: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, output: Any, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, the mean over the examples."""

    @abstractmethod
    def fits(self, output: Any, count: int) -> bool:
        """Return whether `output` is what a model must return for `count` examples."""

    @abstractmethod
    def fault(self, output: Any, labels: Tensor, model: str) -> str:
        """Return what is wrong with the labels `[B, ...]` and how to fix it, or an empty string if nothing is wrong.

        Args:
            output: The output of the model for the same examples, which `fits`.
            labels: The labels of the batch.
            model: Name of the model.
        """

    def count(self, output: Any) -> int:
        """Return K, the number of classes of the output, or 0 if labels are not classes."""
        return 0

    def correct(self, output: Any, labels: Tensor) -> Tensor | None:
        """Return how much of each example is predicted correctly, `[B]` in [0, 1]; `None` if the loss has no such rule.

        Args:
            output: The output of the model, which `fits`.
            labels: `[B, ...]`, without a fault.
        """
        return None

    def width(self, labels: Tensor | None) -> int | None:
        """Return how many outputs a model that is built by name needs; `None` means one for each class.

        Args:
            labels: `[N, ...]`, the labels of the whole source, or `None` if it has none.
        """
        return None

    def require_output(self, output: Any, count: int, model: str) -> None:
        """Raise `AuditError` if `output` is not what the model must return for `count` examples."""
        if not self.fits(output, count):
            raise AuditError(f"{model}: must return {self.output.format(count=count)}. Found {described(output)}.")

    def require_labels(self, output: Any, labels: Tensor, model: str) -> None:
        """Raise `AuditError` with the fix if the loss cannot take the labels."""
        fault = self.fault(output, labels, model)
        if fault:
            raise AuditError(fault)


class ClassLoss(Loss):
    """A loss over `[B, K]` logits, one for each class. Any function that is not a `Loss` is treated as one."""

    classes: ClassVar[bool] = True
    inferable: ClassVar[bool] = True

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Raise `NotImplementedError`: only the checks of this class are used."""
        raise NotImplementedError

    def fits(self, output: Any, count: int) -> bool:
        """Return whether the output is `[B, K]`."""
        return isinstance(output, Tensor) and output.ndim == 2 and len(output) == count

    def fault(self, output: Tensor, labels: Tensor, model: str) -> str:
        """Return what is wrong unless the labels are classes in [0, K), or probabilities `[B, K]`."""
        if labels.is_floating_point() and labels.shape == output.shape:
            return ""
        if labels.ndim != 1 or labels.is_floating_point():
            return wrong_labels("classes [B], integers", labels)
        if labels.min() < 0 or labels.max() >= output.shape[1]:
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            return (
                f"labels: must be in 0...{output.shape[1] - 1}, the classes of {model}. Found {int(wrong)}; raise "
                "num_classes or fix the labels."
            )
        return ""

    def count(self, output: Tensor) -> int:
        """Return K, the number of logits."""
        return output.shape[1]

    def correct(self, output: Tensor, labels: Tensor) -> Tensor:
        """Return whether the largest logit is that of the class, or of the most probable class."""
        true = labels.argmax(1) if labels.is_floating_point() else labels
        return (output.argmax(1) == true).float()


def rules_of(loss: LossFunction) -> Loss:
    """Return the loss itself; for a plain function, a `ClassLoss` with the checks of a loss over `[B, K]` logits."""
    return loss if isinstance(loss, Loss) else _PLAIN


def require_inferable(loss: LossFunction) -> None:
    """Raise `AttackFailed` if no attack can infer labels under this loss."""
    if not rules_of(loss).inferable:
        raise AttackFailed(
            f"labels cannot be inferred under {loss!r}, whose output has no logit for each class. Grant LABELS, and "
            "choose an attack that works with granted labels."
        )


def tensors_of(output: Any) -> list[Tensor]:
    """Return all tensors of an output: the output itself, or the tensors in a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return [output]
    entries = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for entry in entries for tensor in tensors_of(entry)]


def described(output: Any) -> str:
    """Return the shape of an output, or its type if it is not a tensor."""
    if isinstance(output, Tensor):
        return str(list(output.shape))
    found = tensors_of(output)
    return f"{type(output).__name__}{f' of {[list(one.shape) for one in found]}' if found else ''}"


def wrong_labels(wanted: str, labels: Tensor) -> str:
    """Return the error text for labels whose shape or type is not `wanted`."""
    found = f"{str(labels.dtype).removeprefix('torch.')} {list(labels.shape)}"
    return f"labels: this loss takes {wanted}. Found {found}; fix the labels, or choose another training.loss."


def in_range(values: Tensor, low: float, high: float) -> bool:
    """Return whether all values are finite and lie in [low, high]."""
    return bool(torch.isfinite(values).all()) and bool((values >= low).all()) and bool((values <= high).all())


class _Plain(ClassLoss):
    """The checks of a plain function."""


_PLAIN = _Plain()
