"""Scores of trained networks on images that were held out of the training."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..generators._generator_network import GeneratorNetwork
from .image_set import ImageSet

BLOCK = 200  # images compared at once
SEARCHED = 64  # images whose best latent vector is searched
RATE = 0.05  # learning rate of that search
LEVELS = (0.05, 0.1, 0.2)  # standard deviations of the noise at which a denoiser is scored


def nearest(candidates: Tensor, held_out: Tensor) -> float:
    """Return the mean over images of the mean squared difference of pixels to the nearest of `candidates`.

    Args:
        candidates: `[N, C, H, W]`.
        held_out: `[M, C, H, W]`.
    """
    rows = candidates.flatten(1)
    found = [torch.cdist(block.flatten(1), rows).min(dim=1).values for block in held_out.split(BLOCK)]
    return float(torch.cat(found).square().mean()) / rows.shape[1]


@torch.no_grad()
def samples(network: GeneratorNetwork, count: int, labels: Tensor | None) -> Tensor:
    """Return `count` generated images `[count, C, H, W]`; labels are repeated as often as needed."""
    found = []
    for start in range(0, count, BLOCK):
        number = min(BLOCK, count - start)
        chosen = None
        if network.classes and labels is not None:
            chosen = labels[torch.arange(start, start + number) % len(labels)]
        found.append(network(torch.randn(number, network.latent), chosen))
    return torch.cat(found)


def by_latent_search(
    network: GeneratorNetwork, pictures: Tensor, labels: Tensor | None, steps: int = 200, starts: int = 4
) -> float:
    """Return the mean squared difference of images to the generated image of their best latent vector.

    The best latent vector of each image is the best of four searches by Adam from N(0, 1) with 200 steps each.
    """
    z = torch.randn(starts * len(pictures), network.latent, requires_grad=True)
    wanted, classes = pictures.repeat(starts, 1, 1, 1), None if labels is None else labels.repeat(starts)
    optimiser = torch.optim.Adam([z], lr=RATE)
    for _ in range(steps):
        error = (network(z, classes) - wanted).square().flatten(1).mean(1)
        optimiser.zero_grad()
        error.sum().backward()
        optimiser.step()
    with torch.no_grad():
        error = (network(z, classes) - wanted).square().flatten(1).mean(1)
    return float(error.view(starts, -1).min(dim=0).values.mean())


def generator_scores(network: GeneratorNetwork, training: ImageSet, held_out: ImageSet) -> dict[str, float]:
    """Return how near a generator comes to held-out images, and how near the training images come to them.

    Returns:
        `nearest_sample`: the mean squared difference of a held-out image to the nearest of as many generated images as
        there are training images. `nearest_training_image`: the same to the nearest training image, the yardstick.
        `latent_search_psnr`: the PSNR of up to 64 held-out images after a search for their best latent vector, in dB.
    """
    pictures, _labels = held_out.first(len(held_out))
    images, own = training.first(len(training))
    searched, classes = held_out.first(SEARCHED)
    return {
        "nearest_sample": nearest(samples(network, len(images), own), pictures),
        "nearest_training_image": nearest(images, pictures),
        "latent_search_psnr": decibels(by_latent_search(network, searched, classes)),
    }


@torch.no_grad()
def error_of(answer: Callable[[Tensor], Tensor], held_out: ImageSet) -> float:
    """Return the mean squared error of the answers to held-out images, clamped to [0, 1]."""
    pictures, _ = held_out.first(len(held_out))
    found = [(answer(block).clamp(0, 1) - block).square().flatten(1).mean(1) for block in pictures.split(BLOCK)]
    return float(torch.cat(found).mean())


def auto_encoder_scores(network: nn.Module, training: ImageSet, held_out: ImageSet) -> dict[str, float]:
    """Return the mean squared error on held-out images, its PSNR in dB, and the PSNR of the mean training image."""
    error = error_of(network, held_out)
    mean = training.first(len(training))[0].mean(0)
    known = error_of(lambda pictures: mean.expand_as(pictures), held_out)
    return {"error": error, "psnr": decibels(error), "mean_image_psnr": decibels(known)}


def denoiser_scores(network: nn.Module, held_out: ImageSet) -> dict[str, float]:
    """Return the PSNR in dB of held-out images with noise, before and after denoising, at each of `LEVELS`."""
    found = {}
    for level in LEVELS:
        found[f"noisy_psnr_{level:g}"] = decibels(error_of(partial(_with_noise, level), held_out))
        found[f"psnr_{level:g}"] = decibels(error_of(partial(_cleaned, network, level), held_out))
    return found


def _with_noise(level: float, pictures: Tensor) -> Tensor:
    return pictures + level * torch.randn_like(pictures)


def _cleaned(network: nn.Module, level: float, pictures: Tensor) -> Tensor:
    answer: Tensor = network(_with_noise(level, pictures), torch.full((len(pictures),), level))
    return answer


def decibels(error: float) -> float:
    """Return the PSNR of a mean squared error of pixels in [0, 1]."""
    return -10 * math.log10(max(error, 1e-10))
