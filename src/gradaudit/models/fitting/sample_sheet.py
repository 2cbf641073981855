"""A picture with samples of a trained network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.utils import make_grid

from ..generators._generator_network import GeneratorNetwork
from .image_set import ImageSet

ROW = 10  # images in a row
NOISE = 0.1


def sheet(rows: Tensor) -> Tensor:
    """Return images `[N, C, H, W]` side by side, ten in a row, as one `[C, H', W']`."""
    return make_grid(rows, nrow=ROW, padding=1)


@torch.no_grad()
def generator_sheet(network: GeneratorNetwork, count: int = 80) -> Tensor:
    """Return generated images side by side; of a conditional generator, one class in each column."""
    labels = torch.arange(count) % min(ROW, network.classes) if network.classes else None
    return sheet(network(torch.randn(count, network.latent), labels))


@torch.no_grad()
def auto_encoder_sheet(network: nn.Module, held_out: ImageSet) -> Tensor:
    """Return held-out images, each row above the network's answer to it."""
    pictures, _ = held_out.first(4 * ROW)
    return sheet(_alternating(pictures, network(pictures)))


@torch.no_grad()
def denoiser_sheet(network: nn.Module, held_out: ImageSet) -> Tensor:
    """Return held-out images with noise of 0.1, each row above the denoised one."""
    pictures, _ = held_out.first(4 * ROW)
    noisy = pictures + NOISE * torch.randn_like(pictures)
    return sheet(_alternating(noisy, network(noisy, torch.full((len(pictures),), NOISE))).clamp(0, 1))


def _alternating(above: Tensor, below: Tensor) -> Tensor:
    """Return rows of the first and of the second in turn; both are cut to whole rows, if there is one."""
    count = len(above) // ROW * ROW or len(above)
    pairs = zip(above[:count].split(ROW), below[:count].split(ROW), strict=True)
    return torch.cat([row for pair in pairs for row in pair])
