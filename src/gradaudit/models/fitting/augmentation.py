"""Changes of images through which gradients flow, for a discriminator that sees few images (Zhao et al., 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 8  # images are shifted by up to an eighth of their side


def augmented(pictures: Tensor) -> Tensor:
    """Return images with a random brightness and a random shift each (DiffAugment, Zhao et al., arXiv:2006.10738).

    The discriminator sees real and generated images only through this function. It then learns less about the single
    images of a small data set, and the generator does not learn the changes themselves.

    Args:
        pictures: `[B, C, H, W]` in [-1, 1]; an image that is moved leaves -1 behind.
    """
    count, _, height, width = pictures.shape
    bright = pictures + 0.5 * (torch.rand(count, 1, 1, 1, device=pictures.device) - 0.5)
    down, right = max(1, height // SHIFT), max(1, width // SHIFT)
    padded = F.pad(bright, (right, right, down, down), value=-1.0)
    rows = torch.randint(2 * down + 1, (count, 1, 1), device=pictures.device) + torch.arange(
        height, device=pictures.device
    ).view(1, -1, 1)
    columns = torch.randint(2 * right + 1, (count, 1, 1), device=pictures.device) + torch.arange(
        width, device=pictures.device
    ).view(1, 1, -1)
    each = torch.arange(count, device=pictures.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2)
