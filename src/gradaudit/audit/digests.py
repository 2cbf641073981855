"""Hashes of batches, models and updates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from ..values.types import Batch


def batch_digest(batch: Batch) -> str:
    """Return a hash of the private examples and labels of a batch, 16 hexadecimal digits."""
    digest = hashlib.sha256(raw_bytes(batch.inputs) + raw_bytes(batch.labels))
    return digest.hexdigest()[:16]


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(name.encode() + raw_bytes(tensor))
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor of any precision as they are in memory."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
