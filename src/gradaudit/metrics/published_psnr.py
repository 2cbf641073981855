"""The picture metric of MGIA's code, kept for comparison with its figures."""

from __future__ import annotations

import math

from torch import Tensor

from .psnr import psnr

CIFAR100_STD = (0.2673, 0.2564, 0.2762)
INFLATION = sum(-20 * math.log10(std) for std in CIFAR100_STD) / 3
"""In dB, 11.49: what MGIA's code adds."""


def published_psnr(reconstruction: Tensor, truth: Tensor) -> Tensor:
    """PSNR as MGIA's code takes it (Liu et al., 2023, doi:10.1609/aaai.v37i13.26995): too high by 11.49 dB.

    It takes 1 / std of CIFAR-100's channels for the peak, as if the pictures were normalised, although they lie in
    [0, 1]. Its pictures are clamped here as in `psnr`, whose arguments and
    errors it has; where the code finds a negative value it writes 0, and here there is none.

    Returns:
        `[B]` float64 in dB, in [11.49, 111.49].
    """
    return psnr(reconstruction, truth) + INFLATION
