"""The loop of every training: steps until a limit, checkpoints, and an end by Ctrl-C that leaves whole steps."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ...values.chance import child_seed, forked, set_seed
from ...values.errors import AuditError
from .image_set import ImageSet

T = TypeVar("T")
SNAPSHOT = 5.0  # seconds between two copies in memory, to which an interrupt returns
TrainingState = dict[str, Any]
Losses = Mapping[str, float]

TrainingWatch = Callable[[int, float, Losses], None]
"""Called after every step with the number of steps done, the seconds of training, and the losses."""


class Trainer(Protocol):
    """A network in training."""

    device: torch.device

    def step(self, pictures: Tensor, labels: Tensor | None) -> Losses:
        """Train on one batch, `[B, C, H, W]` in [0, 1] and `[B]`, and return its losses by name."""

    def state(self) -> TrainingState:
        """Return everything that `load` needs to go on from here."""

    def load(self, state: TrainingState) -> None:
        """Go on from a state. Raise `LookupError`, `ValueError` or `RuntimeError` if it does not fit."""

    def result(self) -> nn.Module:
        """Return the trained network in evaluation mode."""


class Keeps(Protocol):
    """Where checkpoints are kept (`inversion/run/keeper.py`)."""

    @property
    def due(self) -> bool:
        """Whether it is time to write one."""

    def save(self, state: TrainingState) -> None:
        """Write one."""

    def resume(self, apply: Callable[[TrainingState], T]) -> T | None:
        """Return the result of `apply` on the last one, or `None` if there is none."""


@dataclass(frozen=True)
class Limit:
    """When a training ends: after a number of steps, after a time, or after whichever comes first.

    Args:
        steps: Number of steps, counted from the first start.
        seconds: Time of training, counted from the first start without the time between interrupted runs.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise AuditError("training: give a number of steps or a time.")

    def reached(self, steps: int, seconds: float) -> bool:
        """Return whether the training is over."""
        return (self.steps is not None and steps >= self.steps) or (
            self.seconds is not None and seconds >= self.seconds
        )

    def fraction(self, steps: int, seconds: float) -> float:
        """Return the fraction that is done, in [0, 1]."""
        shares = (steps / self.steps if self.steps else 0.0, seconds / self.seconds if self.seconds else 0.0)
        return min(1.0, max(shares))


@dataclass(frozen=True)
class BatchDrawing:
    """How batches are drawn.

    Args:
        batch: Images of one step.
        flip: Whether half of the images are mirrored.
        seed: Seed of all steps; each step has its own child of it, so that a resumed training repeats itself.
    """

    batch: int = 64
    flip: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """How a training ended.

    Args:
        steps: Number of steps.
        seconds: Time of training.
        interrupted: Whether Ctrl-C ended it.
    """

    steps: int
    seconds: float
    interrupted: bool


def fit(
    trainer: Trainer,
    images: ImageSet,
    limit: Limit,
    drawing: BatchDrawing,
    *,
    keep: Keeps | None = None,
    watch: TrainingWatch | None = None,
) -> Fitted:
    """Train until the limit, or until Ctrl-C, and return how it ended.

    A checkpoint is written every half minute and at the end. After Ctrl-C the trainer is in the state after some whole
    number of steps, at most five seconds before, and the checkpoint holds the same state.

    Args:
        trainer: The network in training.
        images: What to train on.
        limit: When to end.
        drawing: How batches are drawn.
        keep: Where the checkpoint is, from which the training also starts if there is one.
        watch: Called after every step.
    """
    run = _Run(trainer, keep)
    with forked(trainer.device):
        try:
            while not limit.reached(run.steps, run.seconds):
                set_seed(child_seed(drawing.seed, f"step {run.steps}"))
                pictures, labels = images.draw(drawing.batch, flip=drawing.flip)
                moved = None if labels is None else labels.to(trainer.device)
                losses = trainer.step(pictures.to(trainer.device), moved)
                run.count()
                if watch is not None:
                    watch(run.steps, run.seconds, losses)
        except KeyboardInterrupt:
            run.back()
            return Fitted(run.steps, run.seconds, interrupted=True)
    run.save()
    return Fitted(run.steps, run.seconds, interrupted=False)


class _Run:
    """The position of a training, its last copy in memory, and its checkpoint."""

    def __init__(self, trainer: Trainer, keep: Keeps | None) -> None:
        self.trainer, self.keep = trainer, keep
        self.steps, self.before = 0, 0.0
        if keep is not None:
            keep.resume(self._load)
        self.started = self.copied = time.monotonic()
        self.copy = self._state()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self.started

    def count(self) -> None:
        """Take in that a step is done; copy the state if the last copy is old, and write it if that is due."""
        self.steps += 1
        if time.monotonic() - self.copied > SNAPSHOT:
            self.copy, self.copied = self._state(), time.monotonic()
            if self.keep is not None and self.keep.due:
                self.keep.save(self.copy)

    def save(self) -> None:
        """Write the present state."""
        if self.keep is not None:
            self.keep.save(self._state())

    def back(self) -> None:
        """Return to the last copy, and write it."""
        self._load(self.copy)
        self.started = time.monotonic()
        if self.keep is not None:
            self.keep.save(self.copy)

    def _state(self) -> TrainingState:
        return {"steps": self.steps, "seconds": self.seconds, "trainer": copy.deepcopy(self.trainer.state())}

    def _load(self, state: TrainingState) -> bool:
        self.trainer.load(copy.deepcopy(state["trainer"]))
        self.steps, self.before = int(state["steps"]), float(state["seconds"])
        return True
