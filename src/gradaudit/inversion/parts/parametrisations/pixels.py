"""Optimise the pixels themselves."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ....protocol.observation import Observation
from ....values.types import Knowledge, Modality
from ..part import Candidate, Parametrisation, require_batch_size


@dataclass(frozen=True)
class Pixels(Parametrisation):
    """The pixels themselves: one variable, `pixels` `[S, B, C, H, W]`, in normalised space.

    Args:
        box: Whether to clamp to valid pixels, [0, 1] before normalisation, after every step.
        init: Distribution of the first candidate: N(0, 1), uniform over the box, or mid grey plus 0.1 · N(0, 1).
        afresh: Whether a later stage also begins with a new first candidate.
    """

    independent: ClassVar[bool] = True
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    continues: ClassVar[bool] = True
    box: bool = True
    init: Literal["normal", "uniform", "grey"] = "normal"
    afresh: bool = False

    def start(self, seen: Observation, seeds: int, previous: Candidate | None) -> Candidate:
        """Return random pixels, or the images of the previous stage."""
        shape = (seeds, require_batch_size(seen, self), *seen.input_shape)
        like = seen.update.values[0]
        low, high = seen.normalisation.box(like)
        if previous is not None and not self.afresh:
            pixels = previous.decode().detach().clone()
        elif self.init == "uniform":
            pixels = low + (high - low) * torch.rand(shape, device=like.device, dtype=like.dtype)
        else:
            pixels = torch.randn(shape, device=like.device, dtype=like.dtype)
            pixels = (low + high) / 2 + 0.1 * pixels if self.init == "grey" else pixels
        return _PixelCandidate(pixels, (low, high) if self.box else None)


class _PixelCandidate(Candidate):
    def __init__(self, pixels: Tensor, bounds: tuple[Tensor, Tensor] | None) -> None:
        self.variables = {"pixels": pixels}
        self.bounds = bounds

    def decode(self) -> Tensor:
        return self.variables["pixels"].view_as(self.variables["pixels"])

    def project(self) -> None:
        if self.bounds is not None:
            torch.clamp(self.variables["pixels"], *self.bounds, out=self.variables["pixels"])
