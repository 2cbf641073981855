"""What an engine is asked to audit: the cases of one client, and what a run records about them."""

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
        """Which schedule of the run, from 0."""
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
        """Credit lines that the licences of the examples ask for, or nothing."""
        ...

    @property
    def configuration(self) -> str:
        """The resolved audit file as YAML, or nothing where there is none."""
        ...

    def __len__(self) -> int:
        """Number of cases."""
        ...

    def cases(self) -> Iterator[Case]:
        """Yield every attack on every batch, batch by batch."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return everything that must be the same for a run to be continued, flat."""
        ...


def model_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's parameters and buffers with their names."""
    state = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        state.update(name.encode() + raw_bytes(tensor))
    return state.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """Return the values of a tensor of any precision as they lie in memory."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def public_warnings(public: Batch | Tensor | None, batch: Batch) -> tuple[str, ...]:
    """Return what is wrong with the public data of one batch; its private examples are left out when it is shared."""
    found = 0 if public is None else int(private_among(public, batch).sum())
    if not found:
        return ()
    noun = MEASURES[batch.modality].noun
    which = f"{found} public {noun}{'s are' if found > 1 else ' is'} private too"
    return (f"{which} (the same or nearly the same example), and the adversary did not get to see them.",)


def require_room(count: int, shape: tuple[int, ...], at: str) -> None:
    """Raise `AuditError` where so many examples of a shape do not fit into memory."""
    needed = 4 * count * math.prod(shape)
    require_memory(needed, f"{at}: {count} examples of shape {list(shape)}", "Take fewer, or smaller ones.")
