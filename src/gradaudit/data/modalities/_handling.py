"""What a modality must say and be able to do for an audit."""

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

FARTHEST = 1e12  # squared error of what is no number
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
        inputs: Shaped as the batch's, on the CPU; pictures may lie outside [0, 1] or hold no numbers.
        order: `[B]`, for each private example the index of the reconstruction assigned to it.
    """

    inputs: Tensor
    order: Tensor


class ModelOptions(Protocol):
    """Keys of `model:` in the audit file that a modality may read."""

    channels: int | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    cifar_stem: bool


class Handling(ABC):
    """How examples of one modality are checked, gathered, given a control, matched, scored, shown and written down.

    A frozen dataclass; what it must know of its source beside the batch (channels, a vocabulary) is a field with a
    default. A module of `data/modalities/` that defines a subclass adds its modality, and so does an entry point of the
    group `gradaudit.modalities`. A metric that scores the modality and is its headline names its examples.

    Attributes:
        modality: Its name, which its sources, batches and models say.
        rule: Sentences for the page: when an example counts as recovered, and what the control is.
        keys: Keys of `model:` in the audit file that belong to it alone.
        drawn: Examples are pictures `[C, H, W]` in [0, 1], which the page shows; others are written down.
        ranked: Examples are told from `distractors`, so that an identification rank is looked for.
        open_facts: Flag of the threat model -> what an audit that did not grant it leaves untested.
    """

    modality: ClassVar[Modality]
    rule: ClassVar[str]
    keys: ClassVar[tuple[str, ...]] = ()
    drawn: ClassVar[bool] = False
    ranked: ClassVar[bool] = False
    open_facts: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def of(cls, source: Any, options: ModelOptions) -> tuple[Handling, tuple[int, ...]]:
        """Return how the examples of `source` are handled, and the shape in which the model takes one.

        Raises:
            AuditError: The options do not fit the source.
        """
        return cls(), source.shape

    def build(self, name: str, source: Any, shape: tuple[int, ...], classes: int, options: ModelOptions) -> nn.Module:
        """Return the model of this modality that `name` names, with weights from torch's global generator.

        Args:
            name: In `models.NAMED_MODELS`.
            source: Of the examples.
            shape: Of one example, as the model takes it.
            classes: Outputs.
            options: Of the audit file.

        Raises:
            AuditError: There is no such model, or it cannot be built so large.
        """
        return models.build_for(self.modality, name, classes, *shape)

    def normalisation(self, options: ModelOptions, shape: tuple[int, ...]) -> Normalisation:
        """Return what the client does to an example before its model sees it: by default nothing."""
        return Normalisation()

    def unlike(self, truth: Tensor) -> str:
        """Return why a guess without the update may come so close to the private examples, as half a sentence."""
        return f"the {MEASURES[self.modality].nouns} hardly differ from those outside the batch"

    @abstractmethod
    def check(self, batch: Batch, model: nn.Module, name: str) -> None:
        """Raise `AuditError` where `model`, called `name`, cannot take the batch's inputs, saying what to mend."""

    @abstractmethod
    def check_public(self, public: Tensor, batch: Batch) -> None:
        """Raise `AuditError` where public examples are unlike the private ones of `batch`."""

    @abstractmethod
    def gather(self, source: Any, indices: list[int], labels: Tensor) -> Batch:
        """The examples of `source` at `indices`, with these labels `[B]`."""

    @abstractmethod
    def control(self, source: Any, batch: Batch, indices: list[int]) -> tuple[Tensor, tuple[str, ...]]:
        """A guess without the update, that expands to the batch's inputs, and notes on it."""

    def distractors(self, source: Any, indices: list[int]) -> Tensor:
        """Other examples from which a reconstruction is to be told, none where identification is not scored."""
        return torch.empty(0)

    def duplicates(self, public: Tensor, batch: Batch) -> Tensor:
        """Which public examples `[N, ...]`, in the shape that `check_public` asks for, are private: `[N]` booleans.

        An adversary that holds the examples it looks for needs no attack. Each modality says what still counts as the
        same example; by default every number must be equal.
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
        """Another source of this modality, in the same vocabulary or columns; raises `AuditError` where it differs."""
        return source

    def score(self, batch: Batch, inputs: Tensor, distractors: Tensor | None = None) -> Scores:
        """All metrics of `inputs`, in the order of the batch."""
        return metrics.scores_of(self.modality, Compared(inputs, batch.inputs.cpu(), distractors, batch=batch))

    def transcribe(
        self, batch: Batch, reconstruction: Tensor, control: Tensor, confidence: Tensor | None = None
    ) -> Transcript | None:
        """The three in words, in the order of the batch, with the attack's confidence; `None` for pictures.

        By default their numbers, with four significant digits.
        """
        if self.drawn:
            return None
        truth = batch.inputs.cpu()
        return Transcript((), *(_numbers(side, truth) for side in (truth, reconstruction, control)))


def _numbers(examples: Tensor, truth: Tensor) -> tuple[TranscriptLine, ...]:
    """Each example as a line of numbers."""
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
    """Raise `AuditError` where the attack returned another number of examples, or another shape."""
    if guess.inputs.shape != batch.inputs.shape:
        found, wanted = list(guess.inputs.shape), list(batch.inputs.shape)
        raise AuditError(f"the attack returned {noun} of shape {found} for a batch of shape {wanted}.")


def require_batch(batch: Batch, dimensions: int, wanted: str) -> None:
    """Raise `AuditError` where the batch is empty, or not `wanted` with labels `[B]`."""
    if batch.inputs.ndim != dimensions or len(batch.inputs) != len(batch.labels) or not len(batch):
        found = f"{list(batch.inputs.shape)} and {list(batch.labels.shape)}"
        raise AuditError(f"batch: needs {wanted} and labels [B]. Found {found}.")
