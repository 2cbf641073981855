"""What a loss says besides its value: which outputs and labels it takes, and whether labels are classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ....values.errors import AttackFailed, AuditError
from ....values.types import LossFunction


class Loss(ABC):
    """A client's loss over a model's output of any shape: a frozen dataclass whose fields are its options.

    A module of `client/local_training/losses/` that holds a subclass adds it, under the class's own `name` or the name
    of the class in lower case with hyphens; another package offers one through the group `gradaudit.losses`.

    Attributes:
        output: What the model must return, as a phrase; `{count}` stands for the number of examples.
        classes: Labels are `[B]` integers, the class of each example.
        inferable: The output is `[B, K]`, a logit for each class, so that an attack may read labels off the update or
            optimise them from random logits `[B, K]`. Under any other loss LABELS must be granted.
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
        """Return what is wrong with the labels `[B, ...]` for an output that fits, and the fix; nothing where nothing.

        Args:
            output: Of the model called `model`, for the examples of the labels.
            labels: Of the batch.
            model: Its name.
        """

    def count(self, output: Any) -> int:
        """Return K, the number of classes that the output tells apart; 0 where labels are no classes."""
        return 0

    def width(self, labels: Tensor | None) -> int | None:
        """Return how many outputs a model that is given by its name needs; `None` takes one for each class.

        Args:
            labels: `[N, ...]`, of the whole source, or `None` where it has none.
        """
        return None

    def require_output(self, output: Any, count: int, model: str) -> None:
        """Raise `AuditError` where `output` is not what the model called `model` must return for `count` examples."""
        if not self.fits(output, count):
            raise AuditError(f"{model}: must return {self.output.format(count=count)}. Found {described(output)}.")

    def require_labels(self, output: Any, labels: Tensor, model: str) -> None:
        """Raise `AuditError` where the loss cannot take the labels, saying the fix."""
        fault = self.fault(output, labels, model)
        if fault:
            raise AuditError(fault)


class ClassLoss(Loss):
    """A loss over `[B, K]` logits, one for each class: what every function that is no `Loss` is taken for."""

    classes: ClassVar[bool] = True
    inferable: ClassVar[bool] = True

    def __call__(self, output: Tensor, labels: Tensor) -> Tensor:
        """Only its rules are used."""
        raise NotImplementedError

    def fits(self, output: Any, count: int) -> bool:
        """`[B, K]`."""
        return isinstance(output, Tensor) and output.ndim == 2 and len(output) == count

    def fault(self, output: Tensor, labels: Tensor, model: str) -> str:
        """Classes in [0, K), or their probabilities."""
        if labels.is_floating_point() and labels.shape == output.shape:
            return ""
        if labels.ndim != 1 or labels.is_floating_point():
            return wrong_labels("classes [B], integers", labels)
        if labels.min() < 0 or labels.max() >= output.shape[1]:
            wrong = labels.max() if labels.min() >= 0 else labels.min()
            return (
                f"labels: must be in 0...{output.shape[1] - 1}, the classes of {model}. Found {int(wrong)}; raise "
                "num_classes or mend the labels."
            )
        return ""

    def count(self, output: Tensor) -> int:
        """K."""
        return output.shape[1]


def rules_of(loss: LossFunction) -> Loss:
    """Return what a loss says of outputs and labels; a plain function is taken for one over `[B, K]` logits."""
    return loss if isinstance(loss, Loss) else _PLAIN


def require_inferable(loss: LossFunction) -> None:
    """Raise `AttackFailed` under a loss whose labels no attack can infer."""
    if not rules_of(loss).inferable:
        raise AttackFailed(
            f"labels cannot be inferred under {loss!r}, whose output holds no logit for each class. Grant LABELS, and "
            "take an attack that works with granted labels."
        )


def tensors_of(output: Any) -> list[Tensor]:
    """Return all tensors of an output: itself, or those of a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return [output]
    entries = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    return [tensor for entry in entries for tensor in tensors_of(entry)]


def described(output: Any) -> str:
    """Return the shape of an output, or its type where it has none."""
    if isinstance(output, Tensor):
        return str(list(output.shape))
    found = tensors_of(output)
    return f"{type(output).__name__}{f' of {[list(one.shape) for one in found]}' if found else ''}"


def wrong_labels(wanted: str, labels: Tensor) -> str:
    """Return the sentence on labels of another shape or type than `wanted`."""
    found = f"{str(labels.dtype).removeprefix('torch.')} {list(labels.shape)}"
    return f"labels: this loss takes {wanted}. Found {found}; mend the labels, or take another training.loss."


def in_range(values: Tensor, low: float, high: float) -> bool:
    """Return whether all values are finite and lie in [low, high]."""
    return bool(torch.isfinite(values).all()) and bool((values >= low).all()) and bool((values <= high).all())


class _Plain(ClassLoss):
    """The rules of a plain function."""


_PLAIN = _Plain()
