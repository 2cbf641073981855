"""Structural similarity (Wang et al., 2004)."""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ..values.measures import Compared, Computed, Metric
from ..values.types import Modality
from ._image_pairs import clean_pair

SSIM_NEEDS = "needs images of at least 11 x 11 pixels"
"""The reason why `ssim` returned `None`."""

_WINDOW = 11  # Gaussian window of sigma 1.5, cut at 3.5 sigma, as in the paper


def ssim(reconstruction: Tensor, truth: Tensor) -> Tensor | None:
    """Return the mean SSIM of each example (Wang et al., 2004, doi:10.1109/TIP.2003.819861, section III).

    The window is Gaussian with 11 x 11 pixels and sigma 1.5; K1 = 0.01, K2 = 0.03, data range 1, population covariance.
    The mean is over channels and over the windows inside the image. (Some libraries also count windows over a mirrored
    border, and differ by some hundredths on small images.) Both sides are clamped to [0, 1].

    A pixel of the reconstruction that is NaN or infinite is read as mid grey by the windows around it, and the window
    centred on it scores at most 0: a reconstruction of only such pixels shares no structure with any image.

    Args:
        reconstruction: `[B, C, H, W]` floats, pixels, already aligned with `truth`.
        truth: `[B, C, H, W]` floats, pixels.

    Returns:
        `[B]` float64 in [-1, 1], 1 for equal images; `None` if a side has fewer than 11 pixels (`SSIM_NEEDS`).

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a tensor is not floating point, or the ground truth
            is not finite.
    """
    guesses, truths = clean_pair(reconstruction, truth)
    if min(guesses.shape[2:]) < _WINDOW:
        return None
    values = [_similarity(guess.numpy(), true.numpy()) for guess, true in zip(guesses, truths, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def _similarity(guess: np.ndarray, truth: np.ndarray) -> float:
    _, similarities = structural_similarity(
        truth,
        np.nan_to_num(guess, nan=0.5),
        channel_axis=0,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    similarities = np.where(np.isnan(guess), np.minimum(similarities, 0), similarities)
    border = _WINDOW // 2
    return float(similarities[:, border:-border, border:-border].mean())


def _of(compared: Compared) -> Computed:
    found = ssim(compared.guess, compared.truth)
    return SSIM_NEEDS if found is None else found


METRIC = Metric(
    key="ssim",
    name="SSIM",
    unit="",
    higher_is_better=True,
    meaning="Similarity of brightness, contrast and structure in small windows, from -1 to 1; 1 for equal images.",
    paper="doi:10.1109/TIP.2003.819861",
    modality=Modality.PICTURES,
    compute=_of,
    place=1,
)
