"""Schedules: the cases of one client that a run audits, and the facts that the run records about them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..data.modalities import private_among
from ..values.measures import MEASURES
from ..values.memory import require_memory
from ..values.types import Batch
from .judge import Case


class Schedule(Protocol):
    """The cases of one client: those of an audit file (`Plan`), or those of batches from Python (`GivenBatches`)."""

    @property
    def number(self) -> int:
        """Number of the schedule in the run, from 0."""
        ...

    @property
    def repeats(self) -> int:
        """Number of batches."""
        ...

    @property
    def description(self) -> str:
        """Where the examples come from, in words."""
        ...

    @property
    def attribution(self) -> str:
        """Credit lines that the licences of the examples require, or an empty string."""
        ...

    @property
    def configuration(self) -> str:
        """The resolved audit file as YAML, or an empty string if there is none."""
        ...

    def __len__(self) -> int:
        """Number of cases."""
        ...

    def cases(self) -> Iterator[Case]:
        """Yield every attack on every batch, batch by batch."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return everything that must be equal for a run to resume, as a flat mapping."""
        ...


def model_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers with their names."""
    state = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        state.update(name.encode() + raw_bytes(tensor))
    return state.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor of any precision as they are in memory."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def public_warnings(public: Batch | Tensor | None, batch: Batch) -> tuple[str, ...]:
    """Return a warning if public examples are also private ones of the batch; the adversary does not see these."""
    found = 0 if public is None else int(private_among(public, batch).sum())
    if not found:
        return ()
    noun = MEASURES[batch.modality].noun
    which = f"{found} public {noun}{'s are' if found > 1 else ' is'} private too"
    return (f"{which} (the same or nearly the same example), and the adversary did not get to see them.",)


def require_room(count: int, shape: tuple[int, ...], at: str) -> None:
    """Raise `AuditError` if `count` examples of this shape do not fit into memory."""
    needed = 4 * count * math.prod(shape)
    require_memory(needed, f"{at}: {count} examples of shape {list(shape)}", "Use fewer, or smaller ones.")
