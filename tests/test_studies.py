"""Studies: frozen values, a runner that resumes, a page with the published figures beside ours."""

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from gradaudit.report.study import write_study
from gradaudit.studies import STUDIES, Bench, Curve, Figure, Study, Table, read_study, run_study
from gradaudit.studies.label_inference import LabelCell
from test_cli import gradaudit  # noqa: F401  (the fixture that runs the command)


@dataclass(frozen=True)
class Toy:
    size: int
    log: ClassVar[list] = []

    @property
    def name(self):
        return f"size {self.size}"

    def missing(self, bench):
        return "too large for <this> bench" if self.size > 2 else None

    def measure(self, bench, seed):
        self.log.append((self.size, seed))
        return {"square": float(self.size**2 + seed), "nothing": None}


TOY = Study(
    name="toy",
    title="Squares",
    paper="nowhere",
    about="What a square is.",
    cells={"default": (Toy(1), Toy(2), Toy(3))},
    repeats={"default": 3},
    tables=(Table("Squares", {"square": "square", "none": "nothing"}),),
    figures=(Figure("Growth", "size", "square", (Curve("square", "square", ((1, "size 1"), (2, "size 2"))),)),),
    reported={"size 1": {"square": 1.0}},
)


def run(tmp_path):
    Toy.log.clear()
    run_study(TOY, "default", Bench(), tmp_path, lambda *_: None)
    return read_study(TOY, "default", Bench(), tmp_path)


def test_runs_every_cell_that_can_be_measured(tmp_path):
    result = run(tmp_path)
    assert Toy.log == [(size, seed) for size in (1, 2) for seed in range(3)]
    assert (result.done, result.planned) == (6, 6)
    assert result.interval("size 1", "square").mean == 2
    assert result.interval("size 1", "nothing") is None
    assert result.left_out == {"size 3": "too large for <this> bench"}
    document = result.to_json()
    assert document["cells"][0]["columns"]["square"]["reported"] == 1.0
    json.dumps(document, allow_nan=False)


def test_goes_on_where_it_stopped(tmp_path):
    run(tmp_path)
    path = tmp_path / "study.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    assert run(tmp_path).done == 6
    assert len(Toy.log) == 4


def test_the_page_shows_ours_beside_the_published(tmp_path):
    page = write_study(run(tmp_path), tmp_path).read_text(encoding="utf-8")
    assert "2.00" in page
    assert '<span class="reported">1.00</span>' in page
    assert "too large for &lt;this&gt; bench" in page
    assert "<polyline" in page
    assert "<script" not in page
    unfinished = replace(run(tmp_path), done=1)
    assert "Unfinished: 1 of 6" in write_study(unfinished, tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_every_study_is_whole(study):
    assert set(study.cells) == set(study.repeats)
    names = {cell.name for cells in study.cells.values() for cell in cells}
    for cells in study.cells.values():
        assert len({cell.name for cell in cells}) == len(cells)
    assert set(study.reported) <= names
    for figure in study.figures:
        assert {name for curve in figure.curves for _, name in curve.points} <= names


@pytest.mark.parametrize("distribution", ["uniform", "distinct", "one class", "dirichlet"])
def test_label_cells_draw_what_they_say(distribution):
    cell = LabelCell("mlp", 8, distribution)
    labels = cell._labels(10, torch.Generator().manual_seed(0))
    assert labels.shape == (8,)
    distinct = len(labels.unique())
    assert {"distinct": distinct == 8, "one class": distinct == 1}.get(distribution, 1 <= distinct <= 8)


def test_a_label_cell_measures_every_method():
    values = LabelCell("mlp", 6).measure(Bench(), 0)
    assert values == LabelCell("mlp", 6).measure(Bench(), 0)
    assert values["bias-counts.recall"] > 0.8
    assert values["hfgradinv.recall"] is not None  # the bench grants public data
    assert values["idlg.recall"] is None


def test_trained_networks_need_labels(tmp_path):
    cell = LabelCell("mlp", 6, trained=True)
    assert "needs --data with labels" in cell.missing(Bench())
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 4
    pictures = (rng.integers(0, 60, (400, 8, 8)) + 60 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=pictures, labels=labels)
    bench = Bench(tmp_path / "x.npz")
    assert cell.missing(bench) is None
    assert "4 classes" in LabelCell("mlp", 6, "distinct").missing(bench)
    trained = bench.network("mlp", trained=True, seed=0)
    private = torch.arange(bench.trained_on, 400)
    logits = trained(bench.normalisation.apply(bench.source.stack(private.tolist())))
    assert (logits.argmax(1) == bench.labels[private]).float().mean() > 0.5
    fresh, old = (LabelCell("mlp", 24, trained=state).measure(bench, 0) for state in (False, True))
    assert old["gradinversion.existence"] <= 1
    assert fresh["bias-counts.recall"] > 0.9


def test_the_command(gradaudit, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(STUDIES, "toy", TOY)
    code, out, err = gradaudit("study", "toy", "--out", "toy")
    assert code == 0, err
    assert "size 2" in out
    assert (tmp_path / "toy/study.html").exists()
    code, out, _ = gradaudit("study", "toy", "--out", "toy", "--json")
    assert json.loads(out)["done"] == 6
    assert "label-inference" in gradaudit("studies")[1]
    for arguments, message in (
        (("study", "tow"), "Did you mean toy?"),
        (("study", "toy", "--scale", "huge", "--out", "other"), "toy has default"),
        (("study", "toy", "--weights", "mlp"), "MODEL=FILE"),
        (("study", "label-inference", "--scale", "quick", "--data", "none.npz"), "none.npz"),
    ):
        code, _, err = gradaudit(*arguments)
        assert code == 2
        assert message in err
