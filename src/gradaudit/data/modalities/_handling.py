"""The base class for the handling of a modality in an audit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ... import metrics, models
from ...values.errors import AuditError
from ...values.measures import MEASURES, Compared
from ...values.scores import Scores
from ...values.transcript import Transcript, TranscriptLine
from ...values.types import Batch, Modality, Normalisation, Reconstruction

FARTHEST = 1e12  # squared error of a value that is NaN or infinite
CONTROL = (
    "For each {noun}, the closest reconstruction over all attacks counts. The control is a guess made without the "
    "update: {control}."
)
SHARE = (
    "A {noun} counts as recovered if at least {least:.0f} % of its {parts} are correct, and at least {gain:.0f} points "
    "more than in the control. Traces: no {noun} is recovered, but {trace}. "
)


class Matched(NamedTuple):
    """A reconstruction in the order of the batch.

    Args:
        inputs: The reconstructed inputs in the shape of the batch's, on the CPU. Images may be outside [0, 1] or
            contain NaN or infinity.
        order: `[B]`, for each private example the index of the reconstruction assigned to it.
    """

    inputs: Tensor
    order: Tensor


class ModelOptions(Protocol):
    """The keys of `model:` in the audit file that a modality may read."""

    channels: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    cifar_stem: bool


class Handling(ABC):
    """The handling of one modality: how its examples are checked, gathered, matched, scored and shown.

    A subclass is a frozen dataclass. Facts about its source that a batch does not contain (channels, a vocabulary) are
    fields with defaults. A subclass in a module of `data/modalities/` is registered automatically, and so is one from
    an entry point of the group `gradaudit.modalities`. The headline metric of the modality gives its examples a name.

    Attributes:
        modality: The modality, which its sources, batches and models name.
        rule: Sentences for the page: when an example counts as recovered, and what the control is.
        keys: Keys of `model:` in the audit file that only this modality uses.
        drawn: Whether examples are images `[C, H, W]` in [0, 1], which the page shows; others are written as text.
        ranked: Whether examples are compared with `distractors`, so that there is an identification rank.
        comparable: Whether other examples can be given as tensors, for the control of an audit from Python.
        open_facts: Flag of the threat model -> what an audit leaves untested if it does not grant the flag.
    """

    modality: ClassVar[Modality]
    rule: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    drawn: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    comparable: ClassVar[bool] = True
    open_facts: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def of(cls, source: Any, options: ModelOptions) -> tuple[Handling, tuple[int, ...]]:
        """Return the handling of the examples of `source`, and the shape of one example as the model takes it.

        Raises:
            AuditError: The options do not fit the source.
        """
        return cls(), source.shape

    def build(self, name: str, source: Any, shape: tuple[int, ...], classes: int, options: ModelOptions) -> nn.Module:
        """Return the model called `name`, with weights from torch's global generator.

        Args:
            name: A name in `models.NAMED_MODELS`.
            source: The source of the examples.
            shape: Shape of one example, as the model takes it.
            classes: Number of outputs.
            options: Options of the audit file.

        Raises:
            AuditError: There is no such model for this modality, or it is too large for the memory.
        """
        return models.build_for(self.modality, name, classes, *shape)

    def normalisation(self, options: ModelOptions, shape: tuple[int, ...]) -> Normalisation:
        """Return the normalisation that the client applies to an example; by default the identity."""
        return Normalisation()

    def unlike(self, truth: Tensor) -> str:
        """Return a clause that says why a guess without the update can be so close to the private examples."""
        return f"the {MEASURES[self.modality].nouns} hardly differ from those outside the batch"

    @abstractmethod
    def check(self, batch: Batch, model: nn.Module, name: str) -> None:
        """Raise `AuditError` with the fix if `model`, called `name`, cannot take the inputs of the batch."""

    @abstractmethod
    def check_public(self, public: Tensor, batch: Batch) -> None:
        """Raise `AuditError` if public examples differ from the private ones of `batch` in shape or range."""

    @abstractmethod
    def gather(self, source: Any, indices: list[int], labels: Tensor) -> Batch:
        """Return the examples of `source` at `indices`, with these labels `[B]`."""

    @abstractmethod
    def control(self, source: Any, batch: Batch, indices: list[int]) -> tuple[Tensor, tuple[str, ...]]:
        """Return the control, a guess made without the update that expands to the batch's inputs, and notes on it."""

    def source_of(self, batch: Batch, others: Tensor | None) -> Any:
        """Return a source whose first examples are those of `batch`, followed by `others` `[N, ...]`.

        Both are of one precision, on the CPU.

        An audit from Python, which has no source, takes its control and distractors from it.

        Raises:
            AuditError: Batches of this modality can only be audited with an audit file, as is the default.
        """
        raise AuditError(f"batches: {MEASURES[self.modality].nouns} can only be audited with an audit file.")

    def given_control(self, batch: Batch, others: Tensor | None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
        """Return the control and the distractors of a batch without a source, and notes; errors as of `source_of`."""
        source, indices = self.source_of(batch, others), list(range(len(batch)))
        control, notes = self.control(source, batch, indices)
        return control, self.distractors(source, indices), notes

    def distractors(self, source: Any, indices: list[int]) -> Tensor:
        """Return other examples for the identification rank; none if the modality has no such rank."""
        return torch.empty(0)

    def duplicates(self, public: Tensor, batch: Batch) -> Tensor:
        """Return which public examples `[N, ...]`, of the shape that `check_public` requires, are private: `[N]`.

        An adversary that already has the private examples needs no attack. Each modality defines which examples count
        as the same; by default all numbers must be equal.
        """
        theirs, ours = (side.flatten(1).cpu() for side in (public, batch.inputs))
        return (theirs[:, None] == ours[None]).all(-1).any(1)

    def match(self, batch: Batch, guess: Reconstruction) -> Matched:
        """Assign one reconstruction to every private example; by default at the least total squared error."""
        require_shape(batch, guess, MEASURES[self.modality].nouns)
        found = guess.inputs.detach().cpu()
        truth, guesses = (side.flatten(1).double() for side in (batch.inputs.cpu(), found))
        errors = (truth[:, None] - guesses[None]).square().mean(-1).nan_to_num(nan=FARTHEST, posinf=FARTHEST)
        order = metrics.assign_at_cost(errors)
        return Matched(found[order], order)

    def align(self, source: Any) -> Any:
        """Return another source in the vocabulary or columns of this one; raise `AuditError` if that is impossible."""
        return source

    def score(self, batch: Batch, inputs: Tensor, distractors: Tensor | None = None) -> Scores:
        """Return all metrics of `inputs`, which are in the order of the batch."""
        return metrics.scores_of(self.modality, Compared(inputs, batch.inputs.cpu(), distractors, batch=batch))

    def transcribe(
        self, batch: Batch, reconstruction: Tensor, control: Tensor, confidence: Tensor | None = None
    ) -> Transcript | None:
        """Return private examples, reconstructions and controls in words, with the attack's confidence.

        The order is that of the batch. By default the words are the numbers with four significant digits. The result
        is `None` for images.
        """
        if self.drawn:
            return None
        truth = batch.inputs.cpu()
        return Transcript((), *(_numbers(side, truth) for side in (truth, reconstruction, control)))


def _numbers(examples: Tensor, truth: Tensor) -> tuple[TranscriptLine, ...]:
    """Return each example as a line of numbers."""
    rows = zip(examples.flatten(1).tolist(), truth.flatten(1).tolist(), strict=True)
    return tuple(
        TranscriptLine(
            tuple(f" {value:.4g}" for value in row),
            tuple(f"{a:.4g}" != f"{b:.4g}" for a, b in zip(row, true, strict=True)),
            values=tuple(row),
        )
        for row, true in rows
    )


def require_shape(batch: Batch, guess: Reconstruction, noun: str) -> None:
    """Raise `AuditError` if the attack returned a wrong number of examples, or a wrong shape."""
    if guess.inputs.shape != batch.inputs.shape:
        found, wanted = list(guess.inputs.shape), list(batch.inputs.shape)
        raise AuditError(f"the attack returned {noun} of shape {found} for a batch of shape {wanted}.")


def require_batch(batch: Batch, dimensions: int, wanted: str) -> None:
    """Raise `AuditError` if the batch is empty, or is not `wanted` with labels `[B]`."""
    if batch.inputs.ndim != dimensions or len(batch.inputs) != len(batch.labels) or not len(batch):
        found = f"{list(batch.inputs.shape)} and {list(batch.labels.shape)}"
        raise AuditError(f"batch: needs {wanted} and labels [B]. Found {found}.")
