"""Channel means and edge maps of images. Those of the private images are an oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SIGMA = 1.4  # pixels: sigma of the Gaussian before edge detection (interpretation of AFGI; Canny, 1986, leaves it open)


@dataclass(frozen=True, eq=False)
class ImageStatistics:
    """The references of AFGI's priors for one batch.

    Args:
        channel_means: `[C]` in [0, 1], over the batch and all pixels.
        edges: `[B, H, W]` boolean, in the order of the batch.
    """

    channel_means: Tensor
    edges: Tensor


def image_statistics(pictures: Tensor) -> ImageStatistics:
    """Return the statistics of images `[B, C, H, W]` in [0, 1]."""
    return ImageStatistics(pictures.mean((0, 2, 3)), canny(pictures))


def canny(pictures: Tensor) -> Tensor:
    """Return binary edges `[B, H, W]` of images `[B, C, H, W]` in [0, 1], by scikit-image (Canny, 1986).

    The thresholds are its defaults: 0.1 and 0.2 of the Sobel magnitude, which is 8 times the slope per pixel.
    """
    from skimage.feature import canny as find  # slow to import, and few attacks need it

    shades = grey(pictures.detach()).clamp(0, 1).double().cpu().numpy()
    found = np.stack([find(shade, sigma=SIGMA) for shade in shades])
    return torch.from_numpy(found).to(pictures.device)


def grey(pictures: Tensor) -> Tensor:
    """Return the brightness `[B, H, W]`: the luma of ITU-R BT.601 for three channels, otherwise the mean."""
    if pictures.shape[1] != 3:
        return pictures.mean(1)
    weights = torch.tensor((0.299, 0.587, 0.114), dtype=pictures.dtype, device=pictures.device)
    return torch.einsum("bchw,c->bhw", pictures, weights)
