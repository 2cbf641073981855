"""The client of a captured update: an audit attacks what it sent, and nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ..client.defending import Memories
from ..client.defense_effect import Note, unnoted
from ..client.participant import Client
from ..protocol.defenses import Defense
from ..protocol.observation import Observation
from ..values.errors import printable
from ..values.types import Batch, Knowledge, Update
from .observe import Captured

UNLIKE = -1.0  # value of an image that equals no other one


@dataclass(frozen=True, eq=False)
class CapturedClient(Client):
    """A client whose update was captured; its training and its defenses are what the user declares of it.

    Whoever makes one sees to it that every granted fact is known: from the private examples, where they are at hand,
    or from the fields below.

    Args:
        file: Name of the file.
        sha256: SHA-256 of the file.
        sent: The update, with the sign of a gradient, on the device of the model.
        input_shape: Shape of one example.
        size: Number of examples, or `None`.
        classes: `[B]`, the labels of the examples, or `None`.
        statistics: Name of a BatchNorm layer -> (mean, biased variance) by the buffers in the file, or `None`.
    """

    file: str = ""
    sha256: str = ""
    sent: Update = field(default_factory=lambda: Update({}), repr=False)
    input_shape: tuple[int, ...] = field(default=(), repr=False)
    size: int | None = None
    classes: Tensor | None = field(default=None, repr=False)
    statistics: Mapping[str, tuple[Tensor, Tensor]] | None = field(default=None, repr=False)

    @property
    def described(self) -> str:
        """Its name in reports: the file, and the defenses that are declared."""
        return f"{self.file}, {super().described} declared" if self.defenses else self.file

    @classmethod
    def of(cls, captured: Captured, client: Client, sha256: str, size: int | None, labels: Tensor | None) -> Self:
        """Return the client of a captured update.

        Args:
            captured: The update with its model.
            client: What is declared of the client, with its model on the device where the attacks are to run.
            sha256: SHA-256 of the file.
            size: Number of examples, if known.
            labels: `[B]`, the labels, if known.
        """
        seen, device = captured.observation, next(client.model.parameters()).device
        found, buffers = seen.update, seen.update.buffers
        return cls(
            client.model,
            client.training,
            client.defenses,
            client.normalisation,
            client.model_name,
            file=printable(captured.file),
            sha256=sha256,
            sent=Update(_on(device, found.tensors), found.kind, buffers and _on(device, buffers), size),
            input_shape=seen.input_shape,
            size=size,
            classes=None if labels is None else labels.to(device),
            statistics=seen.batch_statistics
            and {name: (mean.to(device), var.to(device)) for name, (mean, var) in seen.batch_statistics.items()},
        )

    def train(self, batch: Batch, *, seed: int = 0) -> Update:
        """Return the captured update, whatever the arguments."""
        return self.sent

    def protected(
        self, batch: Batch, *, seed: int = 0, memories: Memories | None = None, note: Note = unnoted
    ) -> tuple[Update, tuple[Defense, ...]]:
        """Return the captured update; what its defenses did is unknown."""
        return self.sent, ()

    def observed(
        self, update: Update, batch: Batch, knowledge: Knowledge, public: Batch | Tensor | None = None
    ) -> Observation:
        """Return what `knowledge` grants of the captured update.

        Args:
            update: The captured update.
            batch: The private examples; none if they are not at hand.
            knowledge: The threat model.
            public: Public examples, as for `Client.share`.
        """
        from_file = Knowledge.BATCH_STATISTICS if self.statistics is not None else Knowledge.NOTHING
        seen = super().observed(update, self._standing_in(batch), knowledge & ~from_file, public)
        statistics = self.statistics if from_file & knowledge else seen.batch_statistics
        buffers = update.buffers and {name: tensor.clone() for name, tensor in update.buffers.items()}
        return replace(
            seen, knowledge=knowledge, batch_statistics=statistics, update=replace(seen.update, buffers=buffers)
        )

    def _standing_in(self, batch: Batch) -> Batch:
        """Return the batch, with examples that equal no other ones, and labels, where it has none."""
        if len(batch) and len(batch) == len(batch.labels):
            return batch
        count = len(batch) or self.size or 1
        inputs = batch.inputs if len(batch) else batch.inputs.new_full((count, *self.input_shape), UNLIKE)
        none = torch.zeros(count, dtype=torch.int64, device=batch.inputs.device)
        return replace(batch, inputs=inputs, labels=none if self.classes is None else self.classes)


def _on(device: torch.device, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
