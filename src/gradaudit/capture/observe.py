"""From a captured file to the observation of an adversary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..models import DoesNotTake, input_check
from ..models.copying import private_copy
from ..protocol.local_training import BatchNormMode, CrossEntropy, LocalTraining, Loss, batch_norm_mode
from ..protocol.observation import HALVES, Observation
from ..values.errors import AuditError
from ..values.tensor_files import TensorFile, listed, read_tensor_file
from ..values.types import Knowledge, Modality, Normalisation, Update, UpdateKind
from .direction import direct
from .kinds import Direction, FileKind, UpdateReading, interpret, scale_invariance
from .statistics import Movement, agreed_steps, batch_statistics, movements
from .update_names import UpdateParts, fit

SHAPES = ((3, 32, 32), (1, 28, 28), (3, 224, 224))
"""Input shapes that are tried if none is given."""
PERPENDICULAR = 0.2  # value of `scale_invariance` below which BatchNorm used batch statistics


MOST = 1_000_000  # examples or local steps; larger numbers are typing errors


@dataclass(frozen=True)
class Settings:
    """What is known about a captured update besides its file.

    Args:
        kind: Kind of the file; `None` detects it.
        batch_size: Number of examples in the batch.
        learning_rate: Learning rate of the local training.
        local_steps: Number of local steps; `None` takes it from BatchNorm's counters, or 1 without them.
        input_shape: `(C, H, W)` of one example; `None` tries `SHAPES`.
        batch_norm: `"eval"` or `"train"`; `None` detects it.
        sign: Direction of a difference; `None` determines it from the last layer, if possible.
        loss: The client's training loss.
        modality: Kind of the examples; `input_shape` is needed unless they are images.
        same_round: Whether the model's weights are certainly those that the client received, however far it moved.

    Raises:
        AuditError: A value is out of range.
    """

    kind: FileKind | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    local_steps: int | None = None
    input_shape: tuple[int, ...] | None = None
    batch_norm: BatchNormMode | None = None
    sign: Direction | None = None
    loss: Loss = field(default_factory=CrossEntropy)
    modality: Modality = Modality.PICTURES
    same_round: bool = False

    def __post_init__(self) -> None:
        for option, value in (("batch-size", self.batch_size), ("local-steps", self.local_steps)):
            if value is not None and not 1 <= value <= MOST:
                bound = "at least 1" if value < 1 else f"at most {MOST}"
                raise AuditError(f"--{option}: must be {bound}. Found {value}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise AuditError(f"--learning-rate: must be positive and finite. Found {self.learning_rate:g}.")
        if self.local_steps is not None and self.learning_rate is None:
            raise AuditError("--local-steps requires --learning-rate, which gives the size of a step.")


@dataclass(frozen=True, eq=False)
class Captured:
    """A captured update with its model.

    Args:
        observation: What the adversary sees, for attacks and label inferences.
        file: Name of the file.
        holds: Kind of the file.
        unshared: Trainable parameters that it does not contain.
        frozen: Parameters that are not trained.
        stored: Name -> precision in the file, such as `float16`.
        movements: Changes of BatchNorm's buffers, if they were sent.
        local_steps: Number of local steps, as given or read from the counters, or `None`.
        notes: Sentences on how the file was interpreted and the tensors changed.
        empty: Why the tensors contain no information, without a full stop, or an empty string.
        undirected: Why the sign of a difference is unknown, without a full stop, or an empty string.
    """

    observation: Observation
    file: str
    holds: FileKind
    unshared: tuple[str, ...]
    frozen: tuple[str, ...]
    stored: Mapping[str, str]
    movements: tuple[Movement, ...]
    local_steps: int | None
    notes: tuple[str, ...]
    empty: str = ""
    undirected: str = ""


def capture(model: nn.Module, update: Path | TensorFile, settings: Settings = Settings()) -> Captured:
    """Read an update and put it beside the model that it was computed with.

    Args:
        model: The model, with the weights that the server sent. It is not modified.
        update: A `.safetensors`, `.pt`, `.pth` or `.npz` file, or its contents.
        settings: What else is known.

    Raises:
        AuditError: The file cannot be read or does not fit the model, or the model accepts none of the input shapes.
    """
    model, precision_note = _in_full_precision(model)
    file = update if isinstance(update, TensorFile) else read_tensor_file(update, "update")
    parts = fit(model, file)
    reading = interpret(model, parts, settings.kind, settings.learning_rate, same_round=settings.same_round)
    shape = settings.input_shape or input_shape(model)
    if settings.loss.inferable:
        input_check(model, shape, "cpu", settings.modality)
    captured = _beside(model, parts, reading, settings, shape)
    directed, undirected = direct(captured.observation, reading, settings.sign, settings.kind)
    if directed is not reading:
        captured = _beside(model, parts, directed, settings, shape)
    doubt = (f"{undirected[0].upper()}{undirected[1:]}.",) if undirected else ()
    notes = (*captured.notes, *precision_note, *doubt)
    return replace(captured, file=file.name, undirected=undirected, notes=notes)


def _beside(
    model: nn.Module, parts: UpdateParts, reading: UpdateReading, settings: Settings, shape: tuple[int, ...]
) -> Captured:
    """Return the update with the model and everything that follows from its buffers."""
    moved = movements(model, reading.buffers)
    steps = _local_steps(reading, settings, moved)
    mode, mode_note = _batch_norm(model, reading, settings, moved)
    statistics = _statistics(model, shape, settings.batch_size, mode, moved)
    observation = Observation(
        model=model,
        update=Update(reading.tensors, reading.kind, reading.buffers or None, settings.batch_size),
        input_shape=shape,
        normalisation=Normalisation((0.0,) * shape[0], (1.0,) * shape[0]),
        loss=settings.loss,
        batch_norm=mode,
        knowledge=_granted(settings, reading, statistics),
        batch_size=settings.batch_size,
        training=_training(settings, reading, steps, mode),
        batch_statistics=statistics or None,
        modality=settings.modality,
    )
    notes = (*_notes(reading, parts, settings, shape), *mode_note)
    return Captured(
        observation,
        "",
        reading.holds,
        parts.unshared,
        parts.frozen,
        parts.stored,
        moved,
        steps,
        notes,
        _empty(parts, reading),
    )


def _in_full_precision(model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """Return a copy on the CPU, in single precision if the model has half precision, and a note on that."""
    model, kinds = private_copy(model).cpu(), {value.dtype for value in (*model.parameters(), *model.buffers())}
    halves = [str(kind).removeprefix("torch.") for kind in HALVES if kind in kinds]
    if not halves:
        return model, ()
    return model.float(), (f"The model's {' and '.join(halves)} values were converted to float32 for the computation.",)


def _empty(parts: UpdateParts, reading: UpdateReading) -> str:
    """Return why the tensors contain no information, without a full stop, or an empty string."""
    if parts.parameters:
        return Update(reading.tensors).emptiness
    return f"{'the file contains' if parts.unshared else 'the model has'} no trainable parameter"


def input_shape(model: nn.Module) -> tuple[int, ...]:
    """Return the first of `SHAPES` that the model accepts. Raise `AuditError` if there is none or no logits."""
    for shape in SHAPES:
        try:
            input_check(model, shape, "cpu")
        except DoesNotTake:
            continue
        return shape
    tried = ", ".join("x".join(map(str, shape)) for shape in SHAPES)
    raise AuditError(f"model: it does not accept an image of shape {tried}. Give --input-shape C,H,W.")


def _local_steps(reading: UpdateReading, settings: Settings, moved: tuple[Movement, ...]) -> int | None:
    counted = agreed_steps(moved)
    if settings.local_steps is not None:
        return settings.local_steps
    if counted:
        return counted
    return 1 if reading.kind is UpdateKind.GRADIENT else None


def _training(
    settings: Settings, reading: UpdateReading, steps: int | None, mode: BatchNormMode
) -> LocalTraining | None:
    if reading.kind is UpdateKind.GRADIENT:
        return LocalTraining(settings.loss, batch_norm=mode)
    if settings.learning_rate is None:
        return None
    return LocalTraining(settings.loss, steps or 1, learning_rate=settings.learning_rate, batch_norm=mode)


def _batch_norm(
    model: nn.Module, reading: UpdateReading, settings: Settings, moved: tuple[Movement, ...]
) -> tuple[BatchNormMode, tuple[str, ...]]:
    """Return the mode of BatchNorm, and a note on how it was detected."""
    if settings.batch_norm is not None:
        return settings.batch_norm, ()
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return "eval", ()
    if any(entry.shift > 0 or entry.steps for entry in moved):
        return "train", ("BatchNorm used the statistics of the private batch: its buffers changed.",)
    cosine = scale_invariance(model, reading.tensors)
    if cosine is not None and cosine < PERPENDICULAR:
        why = "every filter's gradient is perpendicular to the filter"
        return "train", (f"BatchNorm used the statistics of the private batch: {why}.",)
    return "eval", ("BatchNorm is assumed to have used its running statistics; give --batch-norm train if not.",)


def _statistics(
    model: nn.Module, shape: tuple[int, ...], size: int | None, mode: str, moved: tuple[Movement, ...]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the batch statistics of every BatchNorm layer, if one step and a known batch size determine them."""
    if size is None or mode != "train" or agreed_steps(moved) != 1:
        return {}
    positions: dict[str, int] = {}
    handles = [
        layer.register_forward_pre_hook(
            lambda _, args, name=name: positions.__setitem__(name, size * args[0][0, 0].numel())
        )
        for name, layer in model.named_modules()
        if isinstance(layer, _BatchNorm)
    ]
    try:
        with torch.no_grad(), batch_norm_mode(model, "eval"):
            model(torch.zeros(1, *shape))
    finally:
        for handle in handles:
            handle.remove()
    return batch_statistics(moved, positions)


def _granted(settings: Settings, reading: UpdateReading, statistics: Mapping[str, tuple[Tensor, Tensor]]) -> Knowledge:
    granted = Knowledge.NOTHING
    if settings.batch_size is not None:
        granted |= Knowledge.BATCH_SIZE
    if settings.learning_rate is not None:
        granted |= Knowledge.LOCAL_TRAINING
    if statistics:
        granted |= Knowledge.BATCH_STATISTICS
    return granted


def _notes(reading: UpdateReading, parts: UpdateParts, settings: Settings, shape: tuple[int, ...]) -> list[str]:
    notes = [f"The file was interpreted as {_article(reading.holds)}: {reading.why}." if settings.kind is None else ""]
    if parts.wrapped:
        notes.append("Prefixes of wrappers were removed from the names.")
    if parts.positional:
        notes.append("The file has no names; tensors were matched to parameters by their order.")
    if parts.unreached:
        notes.append(f"The file contains None for {listed(parts.unreached)}, treated as a gradient of zeros.")
    if parts.frozen:
        notes.append(f"Frozen, so not part of the update: {listed(parts.frozen)}.")
    if settings.input_shape is None:
        notes.append(
            f"Input shape {'x'.join(map(str, shape))} is the first that the model accepts; --input-shape changes it."
        )
    if settings.learning_rate is not None and settings.local_steps is None and not parts.buffers:
        notes.append("One local step is assumed; --local-steps changes it.")
    return [note for note in (*notes, *reading.notes) if note]


def _article(holds: FileKind) -> str:
    return {"gradient": "a gradient", "weight-difference": "a weight difference", "weights": "whole weights"}[holds]
