import dataclasses

import pytest
import torch

from gradaudit import Batch, Reconstruction, metrics
from gradaudit.audit import judge as audit
from gradaudit.values.columns import Column, TableLayout
from gradaudit.values.finding import Finding
from gradaudit.values.measures import MEASURES
from gradaudit.values.types import Modality

ONE_OF_EACH = {
    Modality.PICTURES: Batch(torch.rand(2, 1, 16, 16), torch.tensor([0, 1])),
    Modality.TEXT: Batch(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([0, 1]), Modality.TEXT),
    Modality.TABLE: Batch(
        torch.rand(2, 1), torch.tensor([0, 1]), Modality.TABLE, table=TableLayout((Column("age"),))
    ),
}  # fmt: skip


@pytest.mark.parametrize("modality", MEASURES)
def test_names_every_metric_of_a_finding(modality):
    batch = ONE_OF_EACH[modality]
    found = audit.score(batch, Reconstruction(batch.inputs, batch.labels, 0.0))
    named = {key for key, metric in metrics.METRICS.items() if metric.modality is modality}
    assert set(found.named) | set(found.why_not) == named
    measure = MEASURES[modality]
    assert {measure.metric, *measure.also, *measure.others} == named


def test_names_every_metric_of_labels():
    counts = {"existence", "counts", "recall", "count_error"}  # of label inference alone, in no finding
    assert {key for key, metric in metrics.METRICS.items() if metric.modality is None} == {"label_accuracy"} | counts
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
        "edit_distance",
    }


def test_exports_what_it_says():
    assert all(hasattr(metrics, name) for name in metrics.__all__)


def test_which_way_every_metric_leaks():
    """Of distances, ranks and errors the lowest value is the worst leak; of all others the highest."""
    low = {key for key, metric in metrics.METRICS.items() if not metric.higher_is_better}
    assert low == {"lpips", "rank", "edit_distance", "count_error"}


def test_costs_of_rows_are_the_share_of_wrong_cells():
    layout = TableLayout((Column("age"), Column("colour", ("blue", "red"))))
    rows = layout.encode([(0.0, "red"), (1.0, "blue")])
    guess = layout.encode([(0.0, "red"), (0.0, "blue")])
    assert metrics.row_costs(guess, rows, layout).tolist() == [[0, 0.5], [1, 0.5]]
