"""Metrics of a reconstruction: each file has the functions of one metric, and the `Metric` that describes it.

A metric gives one value for each example, after one assignment of reconstructions to private examples. Images are
clamped to [0, 1] on both sides, with data range 1; texts are token ids, and rows are encoded.
"""

from __future__ import annotations

from ..values.measures import METRICS, Compared, Metric
from ..values.scores import Score, Scores
from ..values.types import Modality
from ._assignment import assign, assign_at_cost
from ._interval import Interval, bootstrap_interval, mean_interval
from .cells import cell_accuracy, cells_right, row_costs, row_match
from .identification import identification_rank
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
    "Compared",
    "Interval",
    "Metric",
    "assign",
    "assign_at_cost",
    "bag_of_tokens",
    "bootstrap_interval",
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
    "scores_of",
    "ssim",
    "text_costs",
    "token_accuracy",
]


def scores_of(modality: Modality, compared: Compared) -> Scores:
    """Return every metric of a modality on one batch, and the reason for each metric that does not apply."""
    named, why_not = {}, {}
    for key, metric in METRICS.items():
        if metric.modality == modality and metric.compute is not None:
            found = metric.compute(compared)
            if isinstance(found, str):
                why_not[key] = found
            else:
                values = tuple(found.double().tolist())
                named[key] = Score.of(values, higher_is_better=metric.higher_is_better)
    return Scores(named, why_not)
