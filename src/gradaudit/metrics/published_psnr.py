"""PSNR as the code of MGIA computes it, for comparison with the values in that paper."""

from __future__ import annotations

import math

from torch import Tensor

from .psnr import psnr

CIFAR100_STD = (0.2673, 0.2564, 0.2762)
INFLATION = sum(-20 * math.log10(std) for std in CIFAR100_STD) / 3
"""What MGIA's code adds to PSNR: 11.49 dB."""


def published_psnr(reconstruction: Tensor, truth: Tensor) -> Tensor:
    """Return PSNR as MGIA's code computes it (Liu et al., 2023, doi:10.1609/aaai.v37i13.26995): too high by 11.49 dB.

    That code uses 1 / std of CIFAR-100's channels as the peak, as if the images were normalised, although they are in
    [0, 1]. Arguments and errors are those of `psnr`, which also clamps the images. The code sets negative values to 0;
    with clamped images there are none.

    Returns:
        `[B]` float64 in dB, in [11.49, 111.49].
    """
    return psnr(reconstruction, truth) + INFLATION
