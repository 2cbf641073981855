"""Peak signal-to-noise ratio (Huynh-Thu and Ghanbari, 2008)."""

from __future__ import annotations

from torch import Tensor

from ..values.measures import Compared, Measure, Metric
from ..values.types import Modality
from ._image_pairs import clean_pair

PSNR_CAP = 100.0
"""PSNR of an exact match in dB, a finite value, so that the mean over a batch stays finite."""


def psnr(reconstruction: Tensor, truth: Tensor) -> Tensor:
    """Return the PSNR of each example, data range 1 (Huynh-Thu and Ghanbari, 2008, doi:10.1049/el:20080522).

    PSNR is `10 log10(1 / MSE)`. Both sides are clamped to [0, 1]. A pixel of the reconstruction that is NaN or infinite
    counts as a squared error of 1, the largest possible; a reconstruction of only such pixels scores 0 dB.

    Args:
        reconstruction: `[B, C, H, W]` floats, pixels, already aligned with `truth`.
        truth: `[B, C, H, W]` floats, pixels.

    Returns:
        `[B]` float64 in dB, in [0, 100]; larger values and exact matches are capped at 100 dB.

    Raises:
        AuditError: The shapes differ or are not four-dimensional, a tensor is not floating point, or the ground truth
            is not finite.
    """
    guess, true = clean_pair(reconstruction, truth)
    errors = (guess - true).square().nan_to_num(nan=1.0).flatten(1).mean(1)
    return (-10 * errors.log10()).clamp(0, PSNR_CAP)


def _of(compared: Compared) -> Tensor:
    return psnr(compared.guess, compared.truth)


PSNR = Measure(
    metric="psnr",
    name="PSNR",
    noun="image",
    unit="dB",
    gain_unit="dB",
    factor=1,
    digits=1,
    recovered_gain=6.0,  # a quarter of the control's squared error
    recovered=0.0,
    trace_gain=3.0,  # half of the control's squared error
    ceiling=30.0,  # the control of natural images has 9-17 dB
)
METRIC = Metric(
    key="psnr",
    name="PSNR",
    unit="dB",
    higher_is_better=True,
    meaning="Peak signal-to-noise ratio, 10 log10(1 / mean squared error); 100 dB for an exact match.",
    paper="doi:10.1049/el:20080522",
    modality=Modality.PICTURES,
    compute=_of,
    headline=PSNR,
    place=0,
)
