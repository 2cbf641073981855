"""The parts of a client's batch and of the public examples that the adversary receives where they are granted."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.modalities import check_public, private_among
from ..values.errors import AuditError
from ..values.types import Batch, Modality


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
