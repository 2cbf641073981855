"""The training of an auto-encoder."""

from __future__ import annotations

from collections.abc import Mapping

from ..auto_encoders import AutoEncoderArchitecture
from .held_out import auto_encoder_scores
from .regression import Regression, reconstructed
from .sample_sheet import auto_encoder_sheet
from .task import Task


def auto_encoder_task(name: str, architecture: AutoEncoderArchitecture) -> Task:
    """Return the training of an auto-encoder."""
    return Task(
        kind="auto-encoder",
        name=name,
        architecture=architecture,
        trainer=lambda device: Regression(architecture.build(), reconstructed, device),
        scores=auto_encoder_scores,
        told=_told,
        sheet=auto_encoder_sheet,
    )


def _told(scores: Mapping[str, float]) -> list[str]:
    return [
        f"Held-out images: mean squared error {scores['error']:.5f} (the tau of GI-PIP), {scores['psnr']:.1f} dB; "
        f"of the mean training image {scores['mean_image_psnr']:.1f} dB."
    ]
