"""Checks of a client before and after it trains: the batch fits the model, and the update is finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..data.modalities import check_inputs
from ..protocol.defenses import Defense
from ..protocol.local_training import batch_norm_mode, rules_of, tensors_of
from ..values.errors import AuditError, guarded
from ..values.types import Batch, LossFunction, Update

SAME = 1e-3  # largest difference of two forward passes, relative to the largest logit, that counts as rounding


class NotFinite(AuditError):  # noqa: N818  (the fact is the name)
    """An update contains NaN or infinity."""


def require_trainable(
    model: nn.Module, batch: Batch, inputs: Callable[[Batch], Tensor], loss: LossFunction, name: str
) -> int:
    """Return the number of logits of a model on a batch.

    Args:
        model: The client's copy of the model.
        batch: The private examples.
        inputs: Returns a new copy of the model's inputs of a batch.
        loss: The training loss.
        name: Name of the model in errors.

    Raises:
        AuditError: The batch or its labels do not fit the model or the loss, or two forward passes over the same batch
            give different logits.
    """
    check_inputs(batch, model, name)
    shape = list(batch.inputs.shape)
    with torch.no_grad(), batch_norm_mode(model, "eval"), guarded(f"{name}: cannot take inputs {shape}"):
        output, again = (model(inputs(batch)) for _ in range(2))
    rules = rules_of(loss)
    rules.require_output(output, len(batch), name)
    if not all(map(_alike, tensors_of(output), tensors_of(again))):
        raise AuditError(
            f"{name}: two passes over the same batch in evaluation mode give different logits, so that its update "
            "cannot be reproduced. Does it call F.dropout without training=self.training?"
        )
    rules.require_labels(output, batch.labels, name)
    first = tensors_of(output)[0]
    return int(first.shape[-1]) if first.dim() else 1


def require_finite(update: Update, acted: Iterable[Defense] = ()) -> None:
    """Raise `NotFinite` if a value of the update is NaN or infinite, with the names of the defenses that `acted`."""
    broken = [name for name, tensor in update.tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        used = ", ".join(dict.fromkeys(defense.name for defense in acted))
        names = f" and the parameters of {used}" if used else ""
        raise NotFinite(
            f"update: {len(broken)} of {len(update.tensors)} tensors hold NaN or infinity, first {broken[0]}. "
            f"Check the model's weights, the learning rate{',' if names else ' and'} the normalisation{names}."
        )


def _alike(logits: Tensor, again: Tensor) -> bool:
    """Return whether the logits are equal up to rounding: some kernels sum in another order on each call."""
    return logits.shape == again.shape and torch.allclose(
        logits, again, rtol=SAME, atol=SAME * float(logits.abs().nan_to_num().max()), equal_nan=True
    )
