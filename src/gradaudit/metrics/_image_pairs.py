"""The preparation of images for all metrics, and the squared error that the metrics share.

Scores are computed on the CPU in float64, so that a finding does not depend on the device of the audit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..values.errors import AuditError


def clean(pictures: Tensor, role: str) -> Tensor:
    """Return images as a metric reads them: detached, on the CPU, float64, clamped to [0, 1].

    A pixel that is not finite becomes NaN, so that each metric can count it against the attack. Infinity is not
    clamped, because an attack that diverged has not found a white pixel.

    Args:
        pictures: `[B, C, H, W]` floats, pixels (not normalised inputs).
        role: What the images are, for the error message.

    Returns:
        `[B, C, H, W]` float64 in [0, 1], or NaN.

    Raises:
        AuditError: `pictures` is not four-dimensional, or not floating point.
    """
    if pictures.ndim != 4:
        raise AuditError(f"{role}: images must be [B, C, H, W], not {list(pictures.shape)}.")
    if not pictures.is_floating_point():
        raise AuditError(f"{role}: images must be floats in [0, 1], not {pictures.dtype} (divide 8-bit images by 255).")
    values = pictures.detach().cpu().to(torch.float64)
    return values.where(values.isfinite(), torch.nan).clamp(0, 1)


def clean_truth(pictures: Tensor, role: str = "truth") -> Tensor:
    """Return images of a source as `clean` does, where a pixel that is not finite is an error.

    Raises:
        AuditError: `clean` raises it, or a pixel is not finite.
    """
    values = clean(pictures, role)
    if values.isnan().any():
        raise AuditError(f"{role}: a pixel is NaN or infinite; repair the image in its source.")
    return values


def clean_pair(reconstruction: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sides of a metric as `clean` and `clean_truth` do; shapes must be equal, so that none is broadcast.

    Raises:
        AuditError: `clean` or `clean_truth` raises it, or the shapes differ.
    """
    if reconstruction.shape != truth.shape:
        shapes = f"{list(reconstruction.shape)}, the truth is {list(truth.shape)}"
        raise AuditError(f"reconstruction: its shape is {shapes}; both must be [B, C, H, W] of one shape.")
    return clean(reconstruction, "reconstruction"), clean_truth(truth)


def mean_squared_errors(reconstruction: Tensor, pictures: Tensor) -> Tensor:
    """Return the mean squared error of every reconstruction against every image.

    A NaN pixel of a reconstruction counts as the largest possible error, 1, against every image: no finite value would
    score worse, and a reconstruction of only NaN has the same distance to all images. Differences are squared directly
    (without `a² - 2ab + b²`), so that equal images have exactly equal distances.

    Args:
        reconstruction: `[A, C, H, W]`, cleaned.
        pictures: `[N, C, H, W]` images, cleaned, finite.

    Returns:
        `[A, N]` in [0, 1].
    """
    columns = pictures.flatten(1)
    rows = [_row(picture.flatten(), columns) for picture in reconstruction]
    return torch.stack(rows) if rows else torch.zeros(0, len(pictures), dtype=torch.float64)


def _row(picture: Tensor, columns: Tensor) -> Tensor:
    pixels, finite = picture.numel(), picture.isfinite()
    if not finite.all():
        picture, columns = picture[finite], columns[:, finite]
    distances = torch.cdist(picture[None], columns, compute_mode="donot_use_mm_for_euclid_dist")[0]
    return (distances.square() + (pixels - picture.numel())) / pixels
