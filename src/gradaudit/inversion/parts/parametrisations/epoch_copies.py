"""Optimise a copy of the pixels for every local epoch, and report their average (DLFA; Dimitrov et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge
from ..part import Candidate, Parametrisation, require_batch_size
from .pixels import Pixels


@dataclass(frozen=True)
class EpochCopies(Parametrisation):
    """Pixels of a separate copy of the batch for every local epoch.

    The variable is `pixels` `[S, E B, C, H, W]`, in normalised space: B images for each of the client's E epochs. It is
    for use with `UnrolledCopies` (Dimitrov et al., arXiv:2206.12395). The reported images are `[S, B, C, H, W]`: the
    copies of every later epoch are assigned to those of the first by least squared error, and averaged.

    Args:
        box: Whether to clamp to valid pixels after every step.
        init: Distribution of the first candidate, as in `Pixels`.
    """

    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.LOCAL_TRAINING
    continues: ClassVar[bool] = True
    box: bool = True
    init: Literal["normal", "uniform", "grey"] = "normal"

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return random copies, or those of the previous stage. Raise `AttackFailed` if the epochs are not known."""
        if seen.training is None:
            raise AttackFailed(f"{self!r} needs the local training.")
        examples, epochs = require_batch_size(seen, self), seen.training.epochs
        if previous is not None and previous.decode().shape[1] == examples:
            previous = _Repeated(previous.decode().detach(), epochs)
        enough = replace(seen, batch_size=epochs * examples)
        return _Copies(Pixels(self.box, self.init).start(enough, seeds, previous), epochs)


class _Repeated(Candidate):
    """The result of a stage without copies, repeated for every epoch."""

    def __init__(self, pixels: Tensor, epochs: int) -> None:
        self.variables = {"pixels": pixels.repeat(1, epochs, 1, 1, 1)}

    def decode(self) -> Tensor:
        return self.variables["pixels"]


class _Copies(Candidate):
    def __init__(self, pixels: Candidate, epochs: int) -> None:
        self.pixels, self.epochs, self.variables = pixels, epochs, pixels.variables

    def decode(self) -> Tensor:
        return self.pixels.decode()

    def project(self) -> None:
        self.pixels.project()

    def reported(self, seen: Observation) -> Tensor:
        copies = seen.normalisation.invert(self.decode().detach())
        return torch.stack([average(one.unflatten(0, (self.epochs, -1))) for one in copies])


def average(copies: Tensor) -> Tensor:
    """Return the mean `[B, ...]` of the copies `[E, B, ...]`, after reordering each epoch to fit the first one best.

    Args:
        copies: Finite.
    """
    first, ordered = copies[0].flatten(1), [copies[0]]
    for epoch in copies[1:]:
        errors = torch.cdist(first, epoch.flatten(1)).square()
        _, order = linear_sum_assignment(errors.nan_to_num().cpu().numpy())
        ordered.append(epoch[torch.as_tensor(order, device=epoch.device)])
    return torch.stack(ordered).mean(0)
