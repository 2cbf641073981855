"""What a client's batch and its public examples become in the hands of the adversary."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.modalities import check_public, private_among
from ..values.errors import AuditError
from ..values.types import Batch, Modality


def public_examples(public: Batch | Tensor | None, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    """Return the public examples `[N, ...]` and their labels `[N]`, without those that are private ones of `batch`.

    Raises:
        AuditError: They are unlike the private ones in shape or range, or all of them are private ones.
    """
    if public is None:
        return None, None
    inputs, labels = (public.inputs, public.labels) if isinstance(public, Batch) else (public, None)
    check_public(inputs, batch)
    kept = ~private_among(public, batch)
    if not kept.any():
        raise AuditError("public_data: every example is a private one of the batch; take other public examples.")
    inputs, labels = inputs[kept.to(inputs.device)], None if labels is None else labels[kept.to(labels.device)]
    return inputs.to(batch.inputs, copy=True), None if labels is None else labels.to(batch.labels, copy=True)


def text_lengths(batch: Batch) -> Tensor | None:
    """Return the tokens of each text before its padding, `[B]`, and `None` for other data."""
    if batch.modality is not Modality.TEXT:
        return None
    lengths = batch.lengths
    whole = torch.full((len(batch),), batch.inputs.shape[1], device=batch.inputs.device)
    return whole if lengths is None else lengths.clone()
