"""Structural similarity (Wang et al., 2004)."""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ..values.measures import Compared, Computed, Metric
from ..values.types import Modality
from ._image_pairs import clean_pair

SSIM_NEEDS = "needs pictures of at least 11 x 11 pixels"
"""Why `ssim` returned `None`."""

_WINDOW = 11  # the Gaussian of sigma 1.5 cut at 3.5 sigma, as in the paper


def ssim(reconstruction: Tensor, truth: Tensor) -> Tensor | None:
    """Mean structural similarity of each example (Wang et al., 2004, doi:10.1109/TIP.2003.819861, section III).

    Gaussian window of 11 x 11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03, data range 1, population covariance, the mean
    over channels and over the windows that lie inside the picture (some libraries also count windows over a mirrored
    border, and differ by some hundredths on small pictures). Both sides are clamped to [0, 1].

    A pixel of the reconstruction that is NaN or infinite is read as mid grey by the windows around it, and the window
    centred on it scores 0 at most: a reconstruction of nothing else shares no structure with any picture.

    Args:
        reconstruction: `[B, C, H, W]` floats, pixels, already aligned with `truth`.
        truth: `[B, C, H, W]` floats, pixels.

    Returns:
        `[B]` float64 in [-1, 1], 1 for equal pictures; `None` where a side is under 11 pixels (`SSIM_NEEDS`).

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a side is not of floats, or the truth is not finite.
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
    meaning="How alike brightness, contrast and structure are in small windows, from -1 to 1 for equal pictures.",
    paper="doi:10.1109/TIP.2003.819861",
    modality=Modality.PICTURES,
    compute=_of,
    place=1,
)
