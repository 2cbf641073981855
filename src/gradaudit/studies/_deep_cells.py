"""The cells of the study of deep networks: images of one size, and starts near the ground truth."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..attacks.residual_r_gap import ATTACK as RESIDUAL_R_GAP
from ..audit.attempt import attack_seed
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Candidate
from ..metrics import psnr
from ..protocol.observation import Observation
from ..values.types import Batch, Reconstruction
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Values
from ._generator_rows import unmade

SOLVERS = {
    "quick": replace(RESIDUAL_R_GAP, steps=60, restarts=1),
    "default": RESIDUAL_R_GAP,
    "paper": RESIDUAL_R_GAP,
}
"""Residual R-GAP at each scale of a study."""


@dataclass(frozen=True, eq=False)
class PixelsFrom(Pixels):
    """The pixels themselves, from given ones: for measurements, since no adversary has a start near the truth.

    Args:
        first: `[B, C, H, W]`, the first candidate, normalised.
    """

    first: Any = None

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return the given pixels for each seed."""
        candidate = super().start(seen, seeds, None)
        candidate.variables["pixels"].copy_(self.first.expand_as(candidate.variables["pixels"]))
        candidate.project()
        return candidate


@dataclass(frozen=True)
class DeepCell(AttackCell):
    """An attack on images of one size only, so that each table row is about the network that it names.

    Args:
        side: Side of the images in pixels.
    """

    side: int = 32

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        found = bench.source.shape[-1]
        if found != self.side:
            return f"the row is for images of {self.side} pixels; the data has {found}"
        return super().missing(bench) or unmade(self.attack, bench.source.shape)


@dataclass(frozen=True)
class BasinCell(DeepCell):
    """A single-stage attack from the ground truth plus noise. It is no attack, since its start is private.

    Args:
        radius: Standard deviation of the noise, in normalised pixels; at 0 the start is the ground truth.
    """

    radius: float = 0.0

    def look(self, bench: Bench, seed: int, batch: Batch, guess: Reconstruction) -> Values:
        """Return the PSNR of the start in dB, and the objective there."""
        start = guess.iterates[0][1].to(batch.inputs)
        return {"start": psnr(start, batch.inputs).mean().item(), "objective.start": guess.trace[0][0][1]}

    def _attack(self, seen: Observation, bench: Bench, seed: int) -> tuple[Reconstruction, float]:
        batch, _ = self._drawn(bench, seed)
        chance = attack_seed(bench.chance(seed))
        noise = torch.randn(batch.inputs.shape, generator=torch.Generator().manual_seed(chance)).to(batch.inputs)
        first: Tensor = seen.normalisation.apply(batch.inputs) + self.radius * noise
        stage = replace(self.attack.stages[0], parametrisation=PixelsFrom(first=first))  # type: ignore[attr-defined]
        attack = replace(self.attack, stages=(stage,), iterates=(0,))  # type: ignore[type-var, call-arg]
        started = time.process_time()
        return attack(seen, seed=chance, watch=bench.watch), time.process_time() - started
