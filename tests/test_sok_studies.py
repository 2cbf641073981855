"""The SoK's tables and SME's comparison: rows, published figures, and that what they claim can be measured."""

from dataclasses import replace

import pytest
import torch

from gradaudit.report.study_page import write_study
from gradaudit.studies import STUDIES, Bench, read_study, run_study
from gradaudit.studies._sok_cells import SoKCell, gia_l, gia_o
from gradaudit.values.types import Knowledge

TABLES = [STUDIES["sok-table-1"], STUDIES["sok-table-2"]]


@pytest.mark.parametrize("study", [*TABLES, STUDIES["sme-against-unrolling"]], ids=lambda study: study.name)
def test_claims_are_about_rows_that_are_measured(study):
    for cells in study.cells.values():
        measured = {cell.name for cell in cells}
        assert {name for one in study.comparisons for name in (one.better, one.worse)} <= measured


@pytest.mark.parametrize("study", TABLES, ids=lambda study: study.name)
def test_every_row_has_its_published_figures(study):
    for cells in study.cells.values():
        assert {cell.name for cell in cells} == set(study.reported)
    assert all(set(values) == {"lpips.10", "lpips.100"} for values in study.reported.values())


def test_published_figures_by_hand():
    one, two = (study.reported for study in TABLES)
    assert one["GIA-O, τ 4"] == {"lpips.10": 0.1508, "lpips.100": 0.1248}
    assert one["GIA-L, τ 8"] == {"lpips.10": 0.1917, "lpips.100": 0.1886}
    assert two["GIA-O, B unknown, 3 minibatches"] == {"lpips.10": 0.1034, "lpips.100": 0.058}
    assert two["GIA-L, B known, 1 minibatch"] == {"lpips.10": 0.0678, "lpips.100": 0.0325}


def test_only_those_who_know_the_size_are_told_it():
    for cell in TABLES[1].cells["default"]:
        if isinstance(cell, SoKCell):
            assert (Knowledge.LOCAL_TRAINING in cell.knowledge) == ("B known" in cell.name)
    assert all(Knowledge.LOCAL_TRAINING not in c.knowledge for c in TABLES[0].cells["paper"] if isinstance(c, SoKCell))
    assert gia_o(None).stages[0].steps == 4_800


def test_a_row_whose_generator_nobody_trained_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADAUDIT_ASSETS", raising=False)
    study = TABLES[0]
    page = write_study(read_study(study, "quick", Bench(), tmp_path), tmp_path).read_text(encoding="utf-8")
    assert "there is no cifar-dcgan" in page
    assert "gradaudit train generator" in page
    assert '<span class="reported">0.0374</span>' in page


def test_a_cell_measures_lpips_under_the_number_of_classes():
    cell = next(cell for cell in TABLES[1].cells["quick"] if cell.name == "GIA-O, B known, 2 minibatches")
    bench = Bench()
    values = SoKCell("tiny", gia_o(2), "mlp", 4, knowledge=cell.knowledge, training=cell.training).measure(bench, 0)
    assert "lpips.10" in values
    assert values["psnr"] > 0
    assert torch.isfinite(torch.tensor(values["ssim"]))


def test_a_study_goes_on_where_it_stopped_and_leaves_out_what_lacks_a_generator(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADAUDIT_ASSETS", raising=False)
    cells = tuple(replace(cell, attack=gia_o(2), network="mlp") for cell in TABLES[0].cells["quick"][:2])
    study = replace(
        TABLES[0],
        cells={"quick": (*cells, replace(cells[0], name="GIA-L, τ 1", attack=gia_l(2)))},
        repeats={"quick": 1},
    )
    for _ in range(2):
        run_study(study, "quick", Bench(), tmp_path)
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 2
    assert list(read_study(study, "quick", Bench(), tmp_path).left_out) == ["GIA-L, τ 1"]
