"""Plug and play: denoise the candidate on the way (Venkatakrishnan, Bouman & Wohlberg, 2013)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ....protocol.observation import Observation
from ....values.errors import AttackFailed
from ....values.types import Knowledge, Modality
from ....values.validation import Count, Fraction, Positive
from ..denoisers import Denoiser
from ..denoisers.tv_chambolle import TvChambolle
from ..part import Candidate, Move, Progress


@dataclass(frozen=True)
class Denoise(Move):
    """A move that pulls the candidate towards its denoised image: x <- (1 - ρ) x + ρ Den_σ(x), every m steps.

    It is the plug-and-play form (Venkatakrishnan et al., 2013) of the attacks with a diffusion or flow model as their
    prior: no gradient goes through the denoiser, and any denoiser can be used. σ falls geometrically over the stage,
    from `first` to `last`; x are pixels in [0, 1]. A denoiser of the wrong strength removes details that the update
    determines, so compare with the same attack without the move.

    Args:
        denoiser: The denoiser; its own strength is replaced by σ.
        every: m.
        share: ρ.
        first: σ at the beginning of the stage.
        last: σ at its end.
    """

    modality: ClassVar[Modality] = Modality.PICTURES
    denoiser: Denoiser = TvChambolle()
    every: Count = 25
    share: Fraction = 0.3
    first: Positive = 0.2
    last: Positive = 0.02

    @property
    def needs(self) -> Knowledge:  # type: ignore[override]
        """The needs of the denoiser."""
        return self.denoiser.needs

    def bind(self, seen: Observation) -> Callable[[Candidate, Callable[[], Tensor], Progress], None]:
        """Return the move. It raises `AttackFailed` if the stage does not optimise pixels of full size."""

        def move(candidate: Candidate, score: Callable[[], Tensor], at: Progress) -> None:
            if (at.step + 1) % self.every:
                return
            pixels = candidate.variables.get("pixels")
            if pixels is None or pixels.shape[-3:] != seen.input_shape:
                raise AttackFailed(f"{self!r} denoises pixels, but the stage optimises {type(candidate).__name__}.")
            pictures = seen.normalisation.invert(pixels).flatten(0, -4)
            cleaned = self.denoiser.at(self.noise(at))(pictures)
            pixels.lerp_(seen.normalisation.apply(cleaned).view_as(pixels), self.share)
            candidate.project()

        return move

    def noise(self, at: Progress) -> float:
        """Return σ at a step."""
        return self.first * (self.last / self.first) ** at.fraction
