"""The training of a generator."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ..generators import GeneratorArchitecture, GeneratorNetwork
from .adversarial import DCGAN_RIVALRY, WGAN_GP_RIVALRY, Adversarial, Rivalry
from .held_out import generator_scores
from .image_set import ImageSet
from .sample_sheet import generator_sheet
from .task import Task

RIVALRIES: Mapping[str, Rivalry] = {"dcgan": DCGAN_RIVALRY, "wgan-gp": WGAN_GP_RIVALRY}
"""How the generator of each architecture is trained; any other one as a DCGAN."""


def generator_task(name: str, architecture: GeneratorArchitecture, rivalry: Rivalry) -> Task:
    """Return the training of a generator with a critic."""
    return Task(
        kind="generator",
        name=name,
        architecture=architecture,
        trainer=lambda device: Adversarial(architecture, rivalry, device),
        scores=generator_scores,
        told=_told,
        sheet=_sheet,
        options=(("rivalry", repr(rivalry)),),
    )


def _sheet(network: GeneratorNetwork, _held_out: ImageSet) -> Tensor:
    return generator_sheet(network)


def _told(scores: Mapping[str, float]) -> list[str]:
    return [
        f"Mean squared distance of a held-out image to the nearest of as many samples as training images: "
        f"{scores['nearest_sample']:.4f}; to the nearest training image (the yardstick): "
        f"{scores['nearest_training_image']:.4f}.",
        f"PSNR of held-out images after a search for their latent vectors: {scores['latent_search_psnr']:.1f} dB.",
    ]
