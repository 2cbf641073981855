"""The training of a denoiser."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ..denoising import DenoisingArchitecture
from .held_out import LEVELS, denoiser_scores
from .image_set import ImageSet
from .regression import Regression, denoised
from .sample_sheet import denoiser_sheet
from .task import Task, TrainingScores


def denoiser_task(name: str, architecture: DenoisingArchitecture) -> Task:
    """Return the training of a denoiser."""
    return Task(
        kind="denoiser",
        name=name,
        architecture=architecture,
        trainer=lambda device: Regression(architecture.build(), denoised, device),
        scores=_scores,
        told=_told,
        sheet=denoiser_sheet,
    )


def _scores(network: nn.Module, _training: ImageSet, held_out: ImageSet) -> TrainingScores:
    return denoiser_scores(network, held_out)


def _told(scores: Mapping[str, float]) -> list[str]:
    pairs = [
        f"{scores[f'psnr_{level:g}']:.1f} dB at noise {level:g} (before: {scores[f'noisy_psnr_{level:g}']:.1f} dB)"
        for level in LEVELS
    ]
    return [f"Held-out images after denoising: {', '.join(pairs)}."]
