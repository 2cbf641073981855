"""What a modality must be able to do for an audit."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from ...values.errors import AuditError
from ...values.scores import Scores
from ...values.transcript import Transcript
from ...values.types import Batch, Modality, Reconstruction


class Matched(NamedTuple):
    """A reconstruction in the order of the batch.

    Args:
        inputs: Shaped as the batch's, on the CPU; pictures may lie outside [0, 1] or hold no numbers.
        order: `[B]`, for each private example the index of the reconstruction assigned to it.
    """

    inputs: Tensor
    order: Tensor


class Handling(Protocol):
    """How examples of one modality are gathered from a source, given a control, matched, scored and written down.

    A frozen value; what it must know of its source beside the batch (channels, a vocabulary) is a field.
    """

    modality: ClassVar[Modality]

    def gather(self, source: Any, indices: list[int], labels: Tensor) -> Batch:
        """The examples of `source` at `indices`, with these labels `[B]`."""
        ...

    def control(self, source: Any, batch: Batch, indices: list[int]) -> tuple[Tensor, tuple[str, ...]]:
        """A guess without the update, that expands to the batch's inputs, and notes on it."""
        ...

    def distractors(self, source: Any, indices: list[int]) -> Tensor:
        """Other examples from which a reconstruction is to be told, none where identification is not scored."""
        ...

    def duplicates(self, public: Tensor, batch: Batch) -> Tensor:
        """Which public examples `[N, ...]`, in the shape that `check_public` asks for, are private: `[N]` booleans.

        An adversary that holds the examples it looks for needs no attack. Each modality says what still counts as the
        same example.
        """
        ...

    def match(self, batch: Batch, guess: Reconstruction) -> Matched:
        """Assign one reconstruction to every private example."""
        ...

    def align(self, source: Any) -> Any:
        """Another source of this modality, in the same vocabulary or columns; raises `AuditError` where it differs."""
        ...

    def score(self, batch: Batch, inputs: Tensor, distractors: Tensor | None = None) -> Scores:
        """All metrics of `inputs`, in the order of the batch."""
        ...

    def transcribe(
        self, batch: Batch, reconstruction: Tensor, control: Tensor, confidence: Tensor | None = None
    ) -> Transcript | None:
        """The three in words, in the order of the batch, with the attack's confidence; `None` for pictures."""
        ...


class Check(Protocol):
    """Says what is wrong with a batch before a model sees it."""

    def __call__(self, batch: Batch, model: nn.Module, name: str) -> None:
        """Raise `AuditError` where `model`, called `name`, cannot take the batch."""
        ...


def require_shape(batch: Batch, guess: Reconstruction, noun: str) -> None:
    """Raise `AuditError` where the attack returned another number of examples, or another shape."""
    if guess.inputs.shape != batch.inputs.shape:
        found, wanted = list(guess.inputs.shape), list(batch.inputs.shape)
        raise AuditError(f"the attack returned {noun} of shape {found} for a batch of shape {wanted}.")


def require_batch(batch: Batch, dimensions: int, wanted: str) -> None:
    """Raise `AuditError` where the batch is empty, or not `wanted` with labels `[B]`."""
    if batch.inputs.ndim != dimensions or len(batch.inputs) != len(batch.labels) or not len(batch):
        found = f"{list(batch.inputs.shape)} and {list(batch.labels.shape)}"
        raise AuditError(f"batch: needs {wanted} and labels [B]. Found {found}.")
