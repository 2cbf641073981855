"""How much came back: pure functions, one file each, and the table of them.

One value per example, after one assignment. Pictures are clamped to [0, 1] on both sides, data range 1; texts are token
ids, rows are encoded.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..values.types import Modality
from .assignment import assign, assign_at_cost
from .cells import cell_accuracy, cells_right, row_costs, row_match
from .identification import identification_rank
from .interval import Interval, mean_interval
from .label_accuracy import label_accuracy
from .label_counts import class_existence_accuracy, count_accuracy, count_error, instance_recall
from .lpips import LPIPS_NEEDS, lpips, perceptual_network
from .psnr import PSNR_CAP, psnr
from .rouge import ROUGE, ROUGE_NEEDS, rouge
from .ssim import SSIM_NEEDS, ssim
from .token_metrics import bag_of_tokens, edit_distance, exact_match, text_costs, token_accuracy

__all__ = [
    "LPIPS_NEEDS",
    "METRICS",
    "PSNR_CAP",
    "ROUGE",
    "ROUGE_NEEDS",
    "SSIM_NEEDS",
    "Interval",
    "Metric",
    "assign",
    "assign_at_cost",
    "bag_of_tokens",
    "cell_accuracy",
    "cells_right",
    "class_existence_accuracy",
    "count_accuracy",
    "count_error",
    "edit_distance",
    "exact_match",
    "identification_rank",
    "instance_recall",
    "label_accuracy",
    "lpips",
    "mean_interval",
    "perceptual_network",
    "psnr",
    "rouge",
    "row_costs",
    "row_match",
    "ssim",
    "text_costs",
    "token_accuracy",
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
        modality: Of the examples that it is for, `None` where it is for all.
    """

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    paper: str
    modality: Modality | None = None


METRICS: dict[str, Metric] = {
    "psnr": Metric(
        name="PSNR",
        unit="dB",
        higher_is_better=True,
        meaning="How far the pixels are off: 10 log10(1 / mean squared error), 100 dB for an exact match.",
        paper="doi:10.1049/el:20080522",
        modality=Modality.PICTURES,
    ),
    "ssim": Metric(
        name="SSIM",
        unit="",
        higher_is_better=True,
        meaning="How alike brightness, contrast and structure are in small windows, from -1 to 1 for equal pictures.",
        paper="doi:10.1109/TIP.2003.819861",
        modality=Modality.PICTURES,
    ),
    "lpips": Metric(
        name="LPIPS",
        unit="",
        higher_is_better=False,
        meaning="How far apart a network trained on human judgements puts the pictures, 0 for equal ones.",
        paper="arXiv:1801.03924",
        modality=Modality.PICTURES,
    ),
    "rank": Metric(
        name="identification rank",
        unit="",
        higher_is_better=False,
        meaning="Place of the true picture in a gallery sorted by squared error to the reconstruction, 1 = identified.",
        paper="arXiv:2104.07586",
        modality=Modality.PICTURES,
    ),
    "token_accuracy": Metric(
        name="token accuracy",
        unit="",
        higher_is_better=True,
        meaning="Share of a text's tokens that came back in their place, markers and padding left out.",
        paper="arXiv:2103.06819",
        modality=Modality.TEXT,
    ),
    "exact_match": Metric(
        name="exact match",
        unit="",
        higher_is_better=True,
        meaning="1 where every token of the text came back in its place.",
        paper="doi:10.18653/v1/D16-1264",
        modality=Modality.TEXT,
    ),
    "rouge1": Metric(
        name="ROUGE-1",
        unit="",
        higher_is_better=True,
        meaning="F-measure of the words that text and guess have in common, in any order.",
        paper="doi:10.3115/1073445.1073465",
        modality=Modality.TEXT,
    ),
    "rouge2": Metric(
        name="ROUGE-2",
        unit="",
        higher_is_better=True,
        meaning="F-measure of the pairs of neighbouring words that they have in common.",
        paper="doi:10.3115/1073445.1073465",
        modality=Modality.TEXT,
    ),
    "rougeL": Metric(
        name="ROUGE-L",
        unit="",
        higher_is_better=True,
        meaning="F-measure of the longest sequence of words that stands in both in this order, gaps allowed.",
        paper="doi:10.3115/1218955.1219032",
        modality=Modality.TEXT,
    ),
    "bag_of_tokens": Metric(
        name="bag of tokens (F1)",
        unit="",
        higher_is_better=True,
        meaning="F-measure of the batch's different tokens and those that came back, whatever their text and place.",
        paper="arXiv:1805.04049",
        modality=Modality.TEXT,
    ),
    "edit_distance": Metric(
        name="edit distance",
        unit="tokens",
        higher_is_better=False,
        meaning="Tokens to insert, delete or replace to get the text.",
        paper="doi:10.1145/321796.321811",
        modality=Modality.TEXT,
    ),
    "cell_accuracy": Metric(
        name="cell accuracy",
        unit="",
        higher_is_better=True,
        meaning="Share of a row's cells that came back: a category exactly, a number to 0.319 standard deviations.",
        paper="arXiv:2210.01785",
        modality=Modality.TABLE,
    ),
    "row_match": Metric(
        name="row match",
        unit="",
        higher_is_better=True,
        meaning="1 where every cell of the row came back.",
        paper="arXiv:2210.01785",
        modality=Modality.TABLE,
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
