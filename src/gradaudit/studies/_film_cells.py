"""Attack cells that film the reconstruction: its iterates after some steps, from the first measurement."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..audit.judge import match
from ..metrics import psnr
from ..values.types import Batch, Reconstruction
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Values, identity

WRONG = 0.1  # error from which on a pixel counts as wrong, in [0, 1]


def film_steps(steps: int, frames: int = 8) -> tuple[int, ...]:
    """Return about `frames` numbers of steps from 0 to less than `steps`, at logarithmic distances."""
    powers = [round(steps ** (number / (frames - 1))) for number in range(frames - 1)]
    return tuple(sorted({0, *(power for power in powers if power < steps)}))


def film_of(cell: str) -> str:
    """Return the name of the image that holds the film of a cell with this identity.

    The image is a sheet: one row for each example, and in each row its iterates, the result and the ground truth.
    """
    return f"{cell}-film"


@dataclass(frozen=True)
class FilmCell(AttackCell):
    """An attack cell that also tells how the reconstruction came about.

    The attack records its own iterates (`iterates`) and knows no ground truth. Rows of a batch stay in the order of the
    final assignment. The first measurement is filmed, whatever came back.
    """

    @property
    def frames(self) -> tuple[int, ...]:
        """The numbers of steps after which the attack records its iterate."""
        return getattr(self.attack, "iterates", ())

    def look(self, bench: Bench, seed: int, batch: Batch, guess: Reconstruction) -> Values:
        """Return `psnr after N` for every frame, the share of wrong pixels, and the total variation beside the truth's.

        `early` is the PSNR of the last iterate within a tenth of the steps. Save the film of the first measurement.
        """
        order, truth = match(batch, guess).order, batch.inputs.cpu()
        result = _ordered(guess.inputs, order)
        shown = {step: _ordered(inputs, order) for step, inputs in guess.iterates}
        for step in self.frames:  # a run that ends early keeps its last image
            shown.setdefault(step, result)
        if seed == 0 and self.frames:
            columns = [*(shown[step] for step in self.frames), result, truth]
            bench.show(film_of(identity(self)), torch.cat([torch.cat([*column], 1) for column in columns], 2))
        after = {step: psnr(shown[step], truth).mean().item() for step in self.frames}
        wrong = ((result - truth).abs().amax(1) > WRONG).double().mean().item()
        found: dict[str, float | None] = {f"psnr after {step}": value for step, value in after.items()}
        if after:
            found["early"] = after[max(step for step in after if step <= self._tenth)]
        return {**found, "wrong": wrong, "roughness": _roughness(result) / _roughness(truth)}

    @property
    def _tenth(self) -> float:
        return sum(stage.steps for stage in getattr(self.attack, "stages", ())) / 10


def _ordered(inputs: Tensor, order: Tensor) -> Tensor:
    return inputs.detach().cpu()[order].nan_to_num(nan=0.5).clamp(0, 1)


def _roughness(pictures: Tensor) -> float:
    """Return the mean absolute difference of neighbouring pixels."""
    steps = pictures.diff(dim=-1).abs().mean() + pictures.diff(dim=-2).abs().mean()
    return float(steps)
