"""Whether an image is recognisable by the bar on LPIPS that the SoK on gradient leakage uses (Du et al., 2025)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..values.measures import METRICS, Compared, Computed, Metric
from ..values.types import Modality

BAR_SMALL, BAR_LARGE = 0.1, 0.3
SMALL = 64  # the smallest side that counts as high resolution


def lpips_bar(shape: tuple[int, ...]) -> float:
    """Return the LPIPS below which an image `[..., H, W]` counts as recognisable.

    The SoK (arXiv:2404.05403) states 0.1 for images of 32 px and 0.3 for high resolution; here the latter begins at 64
    px.
    """
    return BAR_SMALL if min(shape[-2:]) < SMALL else BAR_LARGE


def _of(compared: Compared) -> Computed:
    distance = METRICS["lpips"].compute
    assert distance is not None
    found = distance(compared)
    return (found < lpips_bar(compared.truth.shape)).to(torch.float64) if isinstance(found, Tensor) else found


METRIC = Metric(
    key="recognisable",
    name="Below the LPIPS bar",
    unit="",
    higher_is_better=True,
    meaning="1 if LPIPS is below the SoK's bar, 0.1 for images below 64 px and 0.3 for larger ones, else 0.",
    paper="arXiv:2404.05403",
    modality=Modality.PICTURES,
    compute=_of,
    place=3,
)
