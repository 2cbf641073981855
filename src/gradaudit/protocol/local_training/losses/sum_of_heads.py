"""The loss of a model with several heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ....values.errors import AuditError
from ._loss import Loss, wrong_labels


@dataclass(frozen=True)
class SumOfHeads(Loss):
    """The sum of one loss for each head of a model that returns a tuple, a list or a dictionary of outputs.

    Head m takes column m of `[B, M]` labels, as integers where it takes classes; `[B]` labels go to every head.

    Args:
        heads: A loss or the name of a loss for each head, in the order in which the model returns the outputs.

    Raises:
        AuditError: There is no head, or no loss has the given name.
    """

    output: ClassVar[str] = "a tuple or dictionary of the outputs of its heads for {count} examples"
    heads: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple(_loss(head) for head in self.heads))
        if not self.heads:
            raise AuditError("sum-of-heads: needs at least one loss in heads.")

    def __call__(self, output: Any, labels: Tensor) -> Tensor:
        """Return the sum, a scalar."""
        return sum(head(one, own) for head, one, own in self._each(output, labels))  # type: ignore[return-value]

    def fits(self, output: Any, count: int) -> bool:
        """Return whether there is one output for each head, and each fits the loss of its head."""
        found = _outputs(output)
        pairs = zip(self.heads, found, strict=False)
        return len(found) == len(self.heads) and all(head.fits(one, count) for head, one in pairs)

    def fault(self, output: Any, labels: Tensor, model: str) -> str:
        """Return what is wrong unless the labels are `[B]`, or have a column for each head."""
        if labels.ndim != 1 and labels.shape != (len(labels), len(self.heads)):
            return wrong_labels(f"labels [B], or [B, {len(self.heads)}] with a column for each head", labels)
        faults = (head.fault(one, own, model) for head, one, own in self._each(output, labels))
        return next(filter(None, faults), "")

    def _each(self, output: Any, labels: Tensor) -> list[tuple[Loss, Any, Tensor]]:
        """Return the loss, output and labels of each head."""
        columns = [labels] * len(self.heads) if labels.ndim == 1 else list(labels.unbind(1))
        whole = [own.long() if head.classes else own for head, own in zip(self.heads, columns, strict=True)]
        return list(zip(self.heads, _outputs(output), whole, strict=True))


def _loss(head: Any) -> Loss:
    from . import LOSSES

    if isinstance(head, Loss):
        return head
    if head not in LOSSES:
        raise AuditError(f"sum-of-heads: no loss {head!r} for a head. Known: {', '.join(LOSSES)}.")
    return LOSSES[head]()


def _outputs(output: Any) -> list[Any]:
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, tuple | list) else []
