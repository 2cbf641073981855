"""What the adversary receives of a client and of the public examples, where it is granted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.modalities import check_public, private_among
from ..models.copying import private_copy
from ..protocol.local_training import batch_norm_mode
from ..values.errors import AuditError
from ..values.types import Batch, Knowledge, Modality, Update


def public_examples(public: Batch | Tensor | None, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Return the public examples `[N, ...]` and their labels `[N]`, without examples that also occur in `batch`.

    Raises:
        AuditError: The public examples differ from the private ones in shape or range, or all of them are private.
    """
    if public is None:
        return None, None
    inputs, labels = (public.inputs, public.labels) if isinstance(public, Batch) else (public, None)
    check_public(inputs, batch)
    kept = ~private_among(public, batch)
    if not kept.any():
        raise AuditError("public_data: every example also occurs in the private batch; choose other public examples.")
    inputs, labels = inputs[kept.to(inputs.device)], None if labels is None else labels[kept.to(labels.device)]
    return inputs.to(batch.inputs, copy=True), None if labels is None else labels.to(batch.labels, copy=True)


def text_lengths(batch: Batch) -> Tensor | None:
    """Return the number of tokens of each text before its padding, `[B]`, or `None` for other data."""
    if batch.modality is not Modality.TEXT:
        return None
    lengths = batch.lengths
    whole = torch.full((len(batch),), batch.inputs.shape[1], device=batch.inputs.device)
    return whole if lengths is None else lengths.clone()


def sent(given: nn.Module, update: Update, batch: Batch, knowledge: Knowledge, name: str) -> tuple[nn.Module, Update]:
    """Return a copy of the model, and the update without the token embedding's gradient if that is not granted.

    The text attacks are stated for a client that freezes its embedding or does not share its gradient, which is the
    weaker threat: that gradient alone reveals which words the batch contains.
    """
    model = private_copy(given)
    model.zero_grad()  # a gradient stored in the model would be sent undefended
    if batch.modality is not Modality.TEXT or Knowledge.EMBEDDING_GRADIENT in knowledge:
        return model, update
    kept_back = set(model.get_submodule("token_embedding").parameters())
    names = {name for name, parameter in model.named_parameters() if parameter in kept_back}
    tensors = {name: tensor for name, tensor in update.tensors.items() if name not in names}
    if not tensors:
        raise AuditError(f"{name}: has no trainable parameter besides its token embedding.")
    return model, replace(update, tensors=tensors)


def batch_statistics(given: nn.Module, mode: str, inputs: Tensor) -> Mapping[str, tuple[Tensor, Tensor]]:
    """Return name of a BatchNorm layer -> mean and biased variance of its inputs in a pass over a batch.

    Args:
        given: The model.
        mode: Mode of its BatchNorm layers.
        inputs: `[B, ...]` as the model takes them.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    model = private_copy(given)
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(
                lambda _, args, name=name: found.__setitem__(name, _mean_and_variance(args[0]))
            )
    with torch.no_grad(), batch_norm_mode(model, mode):
        model(inputs)
    return found


def _mean_and_variance(features: Tensor) -> tuple[Tensor, Tensor]:
    flat = features.transpose(0, 1).flatten(1)
    return flat.mean(1), flat.var(1, unbiased=False)
