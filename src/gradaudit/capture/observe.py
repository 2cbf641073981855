"""From a file to what an adversary sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..client.local_training import BatchNormMode, CrossEntropy, LocalTraining, batch_norm_mode
from ..client.observation import HALVES, Observation
from ..models import DoesNotTake, input_check
from ..models.copying import private_copy
from ..values.errors import AuditError
from ..values.tensor_files import TensorFile, listed, read_tensor_file
from ..values.types import Knowledge, Normalisation, Update, UpdateKind
from .direction import direct
from .kinds import Direction, FileKind, UpdateReading, interpret, scale_invariance
from .statistics import Movement, agreed_steps, batch_statistics, movements
from .update_names import UpdateParts, fit

SHAPES = ((3, 32, 32), (1, 28, 28), (3, 224, 224))
"""Input shapes that are tried where none is given."""
PERPENDICULAR = 0.2  # of `scale_invariance`: below, BatchNorm was training


MOST = 1_000_000  # examples or local steps: more are a slip of the keyboard, and would end in years


@dataclass(frozen=True)
class Settings:
    """What is known of a captured update besides its file.

    Args:
        kind: What the file holds; `None` guesses.
        batch_size: Examples behind the update.
        learning_rate: Of the client's local training.
        local_steps: Of the client's local training; `None` reads them off BatchNorm's counters, else takes 1.
        input_shape: `(C, H, W)` of one example; `None` tries `SHAPES`.
        batch_norm: `"eval"` or `"train"`; `None` guesses.
        sign: Which way a difference was taken; `None` tells it from the last layer where that can be told.

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

    def __post_init__(self) -> None:
        for option, value in (("batch-size", self.batch_size), ("local-steps", self.local_steps)):
            if value is not None and not 1 <= value <= MOST:
                bound = "at least 1" if value < 1 else f"at most {MOST}"
                raise AuditError(f"--{option}: must be {bound}. Found {value}.")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise AuditError(f"--learning-rate: must be positive and finite. Found {self.learning_rate:g}.")
        if self.local_steps is not None and self.learning_rate is None:
            raise AuditError("--local-steps: needs --learning-rate, for what one step is.")


@dataclass(frozen=True, eq=False)
class Captured:
    """An update as it was captured.

    Args:
        observation: What the adversary sees, for every attack and label inference.
        file: Name of the file.
        holds: What the file holds.
        unshared: Trainable parameters that it does not hold.
        frozen: Parameters that are not trained.
        stored: Name -> precision in the file, such as `float16`.
        movements: BatchNorm's buffers before and after, where they travel.
        local_steps: Known or read off the counters, else `None`.
        notes: What was guessed, and what was done to the tensors, in plain sentences.
        empty: Why nothing lies in the tensors, without a full stop, or nothing where something does.
        undirected: Why the sign of a difference is not known, without a full stop, or nothing where it is.
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
        model: With the weights that the server sent. Never changed.
        update: A file, `.safetensors`, `.pt`, `.pth` or `.npz`, or what was read from it.
        settings: What is known besides.

    Raises:
        AuditError: The file cannot be read or does not fit the model, or the model takes no picture of any shape tried.
    """
    model, precision_note = _in_full_precision(model)
    file = update if isinstance(update, TensorFile) else read_tensor_file(update, "update")
    parts = fit(model, file)
    reading = interpret(model, parts, settings.kind, settings.learning_rate)
    shape = settings.input_shape or input_shape(model)
    input_check(model, shape, "cpu")
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
    """The update beside the model, with everything that follows from its buffers."""
    moved = movements(model, reading.buffers)
    steps = _local_steps(reading, settings, moved)
    mode, mode_note = _batch_norm(model, reading, settings, moved)
    statistics = _statistics(model, shape, settings.batch_size, mode, moved)
    observation = Observation(
        model=model,
        update=Update(reading.tensors, reading.kind, reading.buffers or None, settings.batch_size),
        input_shape=shape,
        normalisation=Normalisation((0.0,) * shape[0], (1.0,) * shape[0]),
        loss=CrossEntropy(),
        batch_norm=mode,
        knowledge=_granted(settings, reading, statistics),
        batch_size=settings.batch_size,
        training=_training(settings, reading, steps, mode),
        batch_statistics=statistics or None,
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
    """A copy on the CPU, of a model of half precision in single precision: its values are the same, its sums finer."""
    model, kinds = private_copy(model).cpu(), {value.dtype for value in (*model.parameters(), *model.buffers())}
    halves = [str(kind).removeprefix("torch.") for kind in HALVES if kind in kinds]
    if not halves:
        return model, ()
    return model.float(), (f"The model's {' and '.join(halves)} was computed with in float32, with the same values.",)


def _empty(parts: UpdateParts, reading: UpdateReading) -> str:
    """Why nothing can be read off the file's tensors, without a full stop, or nothing."""
    if parts.parameters:
        return Update(reading.tensors).emptiness
    return f"{'the file holds' if parts.unshared else 'the model has'} no trainable parameter"


def input_shape(model: nn.Module) -> tuple[int, ...]:
    """The first of `SHAPES` that the model takes; `AuditError` where it takes none, or gives no logits for it."""
    for shape in SHAPES:
        try:
            input_check(model, shape, "cpu")
        except DoesNotTake:
            continue
        return shape
    tried = ", ".join("x".join(map(str, shape)) for shape in SHAPES)
    raise AuditError(f"model: it takes no picture of {tried}; say --input-shape C,H,W.")


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
        return LocalTraining(batch_norm=mode)
    if settings.learning_rate is None:
        return None
    return LocalTraining(epochs=steps or 1, learning_rate=settings.learning_rate, batch_norm=mode)


def _batch_norm(
    model: nn.Module, reading: UpdateReading, settings: Settings, moved: tuple[Movement, ...]
) -> tuple[BatchNormMode, tuple[str, ...]]:
    """The mode of BatchNorm, and how it was told."""
    if settings.batch_norm is not None:
        return settings.batch_norm, ()
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return "eval", ()
    if any(entry.shift > 0 or entry.steps for entry in moved):
        return "train", ("BatchNorm used the statistics of the private batch: its buffers moved.",)
    cosine = scale_invariance(model, reading.tensors)
    if cosine is not None and cosine < PERPENDICULAR:
        why = "every filter's gradient is perpendicular to the filter"
        return "train", (f"BatchNorm used the statistics of the private batch: {why}.",)
    return "eval", ("BatchNorm is taken to have used its running statistics; say --batch-norm train if not.",)


def _statistics(
    model: nn.Module, shape: tuple[int, ...], size: int | None, mode: str, moved: tuple[Movement, ...]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Of the private batch, for every BatchNorm layer, where one step and a known size give them exactly."""
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
    notes = [f"It was read as {_article(reading.holds)}: {reading.why}." if settings.kind is None else ""]
    if parts.wrapped:
        notes.append("Prefixes of wrappers were dropped from the names.")
    if parts.positional:
        notes.append("The file has no names; tensors were matched to parameters by their order.")
    if parts.unreached:
        notes.append(
            f"The file holds None for {listed(parts.unreached)}: taken as zeros, as where the loss does not reach."
        )
    if parts.frozen:
        notes.append(f"Not trained, so not part of the update: {listed(parts.frozen)}.")
    if settings.input_shape is None:
        notes.append(
            f"Input shape {'x'.join(map(str, shape))} is the first that the model takes; --input-shape sets it."
        )
    if settings.learning_rate is not None and settings.local_steps is None and not parts.buffers:
        notes.append("One local step is assumed; --local-steps sets it.")
    return [note for note in (*notes, *reading.notes) if note]


def _article(holds: FileKind) -> str:
    return {"gradient": "a gradient", "weight-difference": "a weight difference", "weights": "whole weights"}[holds]
