"""How much came back: pure functions of pictures in [0, 1], one file each, and the table of them.

One convention for all: both sides clamped to [0, 1], data range 1, one value per example, after one assignment.
"""

from __future__ import annotations

from dataclasses import dataclass

from .assignment import assign
from .identification import identification_rank
from .interval import Interval, mean_interval
from .label_accuracy import label_accuracy
from .label_counts import class_existence_accuracy, count_accuracy, count_error, instance_recall
from .lpips import LPIPS_NEEDS, lpips, perceptual_network
from .psnr import PSNR_CAP, psnr
from .ssim import SSIM_NEEDS, ssim

__all__ = [
    "LPIPS_NEEDS",
    "METRICS",
    "PSNR_CAP",
    "SSIM_NEEDS",
    "Interval",
    "Metric",
    "assign",
    "class_existence_accuracy",
    "count_accuracy",
    "count_error",
    "identification_rank",
    "instance_recall",
    "label_accuracy",
    "lpips",
    "mean_interval",
    "perceptual_network",
    "psnr",
    "ssim",
]


@dataclass(frozen=True)
class Metric:
    """What a metric says.

    Args:
        name: As shown to a reader.
        unit: Of a value, empty where it has none.
        higher_is_better: A higher value means a better reconstruction, that is, a larger leak.
        meaning: One sentence.
        paper: Where it was published (arXiv id, DOI or OpenReview id).
    """

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    paper: str


METRICS: dict[str, Metric] = {
    "psnr": Metric(
        name="PSNR",
        unit="dB",
        higher_is_better=True,
        meaning="How far the pixels are off: 10 log10(1 / mean squared error), 100 dB for an exact match.",
        paper="doi:10.1049/el:20080522",
    ),
    "ssim": Metric(
        name="SSIM",
        unit="",
        higher_is_better=True,
        meaning="How alike brightness, contrast and structure are in small windows, from -1 to 1 for equal pictures.",
        paper="doi:10.1109/TIP.2003.819861",
    ),
    "lpips": Metric(
        name="LPIPS",
        unit="",
        higher_is_better=False,
        meaning="How far apart a network trained on human judgements puts the pictures, 0 for equal ones.",
        paper="arXiv:1801.03924",
    ),
    "rank": Metric(
        name="identification rank",
        unit="",
        higher_is_better=False,
        meaning="Place of the true picture in a gallery sorted by squared error to the reconstruction, 1 = identified.",
        paper="arXiv:2104.07586",
    ),
    "label_accuracy": Metric(
        name="label accuracy",
        unit="",
        higher_is_better=True,
        meaning="Fraction of the examples whose label came back right.",
        paper="arXiv:2001.02610",
    ),
    "existence": Metric(
        name="class existence accuracy",
        unit="",
        higher_is_better=True,
        meaning="Fraction of all classes of which it is told rightly whether they are in the batch.",
        paper="openreview:FIrQfNSOoTr",
    ),
    "counts": Metric(
        name="count accuracy",
        unit="",
        higher_is_better=True,
        meaning="Fraction of all classes whose number of examples in the batch is told rightly.",
        paper="openreview:FIrQfNSOoTr",
    ),
    "recall": Metric(
        name="instance recall",
        unit="",
        higher_is_better=True,
        meaning="Fraction of the examples whose label is among the inferred ones, in whatever order.",
        paper="openreview:FIrQfNSOoTr",
    ),
    "count_error": Metric(
        name="count error",
        unit="",
        higher_is_better=False,
        meaning="Half the absolute errors of the counts per class, as a share of the batch: 0 for exact counts.",
        paper="arXiv:2405.00955",
    ),
}
"""Every metric by its key in a finding, or in what the label commands print."""
