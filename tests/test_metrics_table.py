import dataclasses

import pytest

from gradaudit import metrics
from gradaudit.finding import Finding, Scores


def test_names_every_metric_of_a_finding():
    scores = {field.name for field in dataclasses.fields(Scores)} - {"why_not"}
    counts = {"existence", "counts", "recall", "count_error"}  # of label inference alone, in no finding
    assert set(metrics.METRICS) == scores | {"label_accuracy"} | counts
    assert "label_accuracy" in {field.name for field in dataclasses.fields(Finding)}


@pytest.mark.parametrize("metric", metrics.METRICS.values(), ids=metrics.METRICS)
def test_entry_is_whole(metric):
    assert metric.name
    assert metric.meaning.endswith(".")
    assert metric.meaning.count(". ") == 0
    assert metric.paper.startswith(("arXiv:", "doi:", "openreview:"))


def test_distances_and_ranks_fall_as_the_leak_grows():
    assert {key for key, metric in metrics.METRICS.items() if not metric.higher_is_better} == {
        "lpips",
        "rank",
        "count_error",
    }


def test_exports_what_it_says():
    assert all(hasattr(metrics, name) for name in metrics.__all__)
