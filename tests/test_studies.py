"""Studies: frozen values, a runner that resumes, a page with the published figures beside ours."""

import json
import os
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from gradaudit.attacks import ATTACKS
from gradaudit.execution.executors.process_pool import ProcessPool
from gradaudit.inversion.run import keeper
from gradaudit.inversion.run.stage import StageRun
from gradaudit.protocol.defenses import TopK
from gradaudit.report.study_page import write_study
from gradaudit.report.study_tables import difference_in_words, entries
from gradaudit.studies import (
    STUDIES,
    Bench,
    Comparison,
    Figure,
    Study,
    StudyCurve,
    StudyResult,
    Table,
    read_study,
    run_study,
)
from gradaudit.studies._attack_cell import AttackCell, offset
from gradaudit.studies._hfgradinv_cells import shorter
from gradaudit.studies.afgi_time import TimeCell
from gradaudit.studies.label_inference import LabelCell
from gradaudit.values.errors import AuditError, AuditWarning


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
    figures=(Figure("Growth", "size", "square", (StudyCurve("square", "square", ((1, "size 1"), (2, "size 2"))),)),),
    reported={"size 1": {"square": 1.0}},
)


def run(tmp_path):
    Toy.log.clear()
    run_study(TOY, "default", Bench(), tmp_path)
    return read_study(TOY, "default", Bench(), tmp_path)


def test_runs_every_cell_that_can_be_measured(tmp_path):
    result = run(tmp_path)
    assert Toy.log == [(size, seed) for seed in range(3) for size in (1, 2)]
    assert (result.done, result.planned) == (6, 6)
    assert result.interval("size 1", "square").mean == 2
    assert result.interval("size 1", "nothing") is None
    assert result.left_out == {"size 3": "too large for <this> bench"}
    document = result.to_json()
    assert document["cells"][0]["columns"]["square"]["reported"] == 1.0
    json.dumps(document, allow_nan=False)


def test_goes_on_where_it_stopped(tmp_path):
    run(tmp_path)
    path = tmp_path / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    with pytest.warns(AuditWarning, match=r"trials.jsonl, line 3: is incomplete; it was cut off"):
        assert run(tmp_path).done == 6
    assert len(Toy.log) == 4


@dataclass(frozen=True)
class Aside:
    """Says which process measured it; cell 9 fails."""

    number: int
    shares: ClassVar[bool] = True

    @property
    def name(self):
        return f"aside {self.number}"

    def missing(self, bench):
        return None

    def measure(self, bench, seed):
        if self.number == 9:
            raise AuditError("cell 9 cannot be measured")
        return {"process": float(os.getpid()), "threads": float(torch.get_num_threads())}


def test_cells_that_share_are_measured_in_one_process_and_a_failure_stops_no_other(tmp_path):
    cells = (Aside(1), Aside(9), Aside(2))
    study = replace(TOY, cells={"default": cells}, repeats={"default": 3}, figures=(), reported={})
    with pytest.raises(AuditError, match=r"3 of 9 trials failed: aside 9 · seed \d: cell 9 cannot be measured"):
        run_study(study, "default", Bench(), tmp_path, executor=ProcessPool(2))
    result = read_study(study, "default", Bench(), tmp_path)
    processes = {seed: values["process"] for seed, values in result.by_seed["aside 1"].items()}
    assert {seed: values["process"] for seed, values in result.by_seed["aside 2"].items()} == processes
    assert len(processes) == 3
    assert os.getpid() not in processes.values()
    assert result.done == 6
    assert len(result.to_json()["failures"]) == 3
    assert write_study(result, tmp_path).read_text().count("cell 9 cannot be measured") == 3
    written = (tmp_path / "trials.jsonl").read_bytes()
    with pytest.raises(AuditError, match="3 of 9 trials failed"):
        run_study(study, "default", Bench(), tmp_path)
    again = (tmp_path / "trials.jsonl").read_bytes()
    assert again.startswith(written)
    assert len(again.splitlines()) == len(written.splitlines()) + 3  # the failures alone


def test_a_failed_measurement_is_in_the_json_and_the_exit_code(gradaudit, monkeypatch):
    study = replace(TOY, cells={"default": (Aside(9), Aside(1))}, repeats={"default": 1}, figures=(), reported={})
    monkeypatch.setattr("gradaudit.studies.STUDIES", {**STUDIES, "toy": study})
    code, out, err = gradaudit("study", "toy", "--workers", "1", "--json", "--out", "run")
    assert code == 2
    assert json.loads(out)["failures"] == ["aside 9 · seed 0: cell 9 cannot be measured"]
    assert "1 of 2 trials failed" in err.splitlines()[-1]


def test_the_first_failure_stops_a_study_on_request(tmp_path):
    study = replace(TOY, cells={"default": (Aside(9), Aside(1))}, repeats={"default": 2}, figures=(), reported={})
    with pytest.raises(AuditError, match=r"^cell 9 cannot be measured$"):
        run_study(study, "default", Bench(), tmp_path, stop_on_error=True)
    assert read_study(study, "default", Bench(), tmp_path).done == 0


def test_results_of_an_earlier_release_are_taken_over(tmp_path):
    result = run(tmp_path)
    lines = [json.loads(line)["result"] for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    for line in lines:
        del line["data"]
    (tmp_path / "trials.jsonl").unlink()
    (tmp_path / "study.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(tmp_path) == result
    assert not Toy.log


def test_a_study_of_which_nothing_can_be_measured_says_why(tmp_path):
    study = replace(TOY, cells={"default": (Toy(3), Toy(4))})
    with pytest.raises(AuditError, match=r"toy: no cell can be measured: too large for <this> bench\.$"):
        run_study(study, "default", Bench(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_of_one_data_set(tmp_path):
    for name in ("a", "b"):
        images = np.arange(4 * 8 * 8 * 3).reshape(4, 8, 8, 3) + ord(name)
        np.savez(tmp_path / f"{name}.npz", images=images.astype(np.uint8), labels=np.arange(4))
    run_study(TOY, "default", Bench(tmp_path / "a.npz"), tmp_path / "out")
    run_study(TOY, "default", Bench(tmp_path / "a.npz"), tmp_path / "out")
    for other in (Bench(tmp_path / "b.npz"), Bench(), Bench(tmp_path / "a.npz", {"mlp": tmp_path / "b.npz"})):
        with pytest.raises(AuditError, match=r"measurements of something else: --(data was .a.npz|weights mlp was)"):
            run_study(TOY, "default", other, tmp_path / "out")


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


def test_the_command(gradaudit, tmp_path, monkeypatch):
    monkeypatch.setattr("gradaudit.studies.STUDIES", {**STUDIES, "toy": TOY})
    code, out, err = gradaudit("study", "toy", "--out", "toy", "--workers", "1")
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
        (("study", "label-inference", "--scale", "quick", "--data", "none.npz", "--workers", "1"), "none.npz"),
    ):
        code, _, err = gradaudit(*arguments)
        assert code == 2
        assert message in err


# Studies of attacks.


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((5.0, -1.0), "+6.00 [+4.76, +7.24], n = 3: confirmed"),
        ((0.3, -5.7), "+6.00 [+4.76, +7.24], n = 3: neither is shown to leak"),
    ],
    ids=["the better one leaks", "neither leaks"],
)
def test_a_claim_about_leakage_where_no_leak_shown_is_not_confirmed(gains, words):
    """The same difference of 6 dB, once of images that come back and once of noise against worse noise."""
    claim = Comparison("better", "size 2", "size 1", "psnr")
    seeds = range(3)
    by_seed = {
        name: {seed: {"psnr": 12 + gain + (seed - 1) * spread, "gain": gain + (seed - 1) * spread} for seed in seeds}
        for name, gain, spread in zip(claim.cells, gains, (1.0, 0.5), strict=True)
    }
    values = {
        name: {column: tuple(found[seed][column] for seed in seeds) for column in ("psnr", "gain")}
        for name, found in by_seed.items()
    }
    result = StudyResult(replace(TOY, comparisons=(claim,)), "default", values, {}, by_seed, 6, 6)
    assert difference_in_words(result, claim) == words
    other = replace(claim, column="seconds")
    assert not result.no_leak_shown(other)
    assert not result.no_leak_shown(replace(claim, mark=0.0))


def test_claims_are_tested_in_pairs(tmp_path):
    """By hand: squares 4 + s against 1 + s differ by 3 at every seed."""
    claims = (
        Comparison("larger", "size 2", "size 1", "square"),
        Comparison("less", "size 2", "size 1", "square", True),
    )
    study = replace(TOY, comparisons=claims)
    run_study(study, "default", Bench(), tmp_path)
    result = read_study(study, "default", Bench(), tmp_path)
    assert result.difference(claims[0]).mean == 3
    assert result.difference(claims[0]).n == 3
    assert "confirmed" in difference_in_words(result, claims[0])
    assert "contradicted" in difference_in_words(result, claims[1])
    assert result.to_json()["comparisons"][0]["difference"]["mean"] == 3
    page = write_study(result, tmp_path).read_text()
    assert "+3.00" in page
    assert "| less | square | -3.00 [-3.00, -3.00], n = 3: contradicted |" in (tmp_path / "study.md").read_text()


def test_the_tables_can_be_put_beside_other_text(tmp_path):
    write_study(run(tmp_path), tmp_path)
    text = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert (
        "| size 1 | 3 | 2.00 [\N{MINUS SIGN}0.48, 4.48] (published 1.00) | n/a |" in text
    )  # 1, 2, 3: mean 2, 4.30 / sqrt(3)
    assert "| size 3 | 0 | – | – |" in text
    assert "- Omitted, too large for <this> bench: size 3" in text


SHORT = shorter(ATTACKS["inverting-gradients"], 3)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"labels": "pairs"},
        {"labels": "uniform", "pick": "unsure"},
        {"pick": "sure"},
        {"defense": TopK(0.1)},
    ],
    ids=str,
)
def test_a_cell_of_an_attack(setting):
    cell = AttackCell("one", SHORT, network="lenet", batch_size=2, **setting)
    bench = Bench()
    assert cell.missing(bench) is None
    values, again = (cell.measure(bench, 1) for _ in range(2))
    values.pop("seconds"), again.pop("seconds")
    assert values == again
    assert {"psnr", "gain", "ssim", "identified", "offset", "norm", "objective"} <= values.keys()


def test_unsure_pictures_have_the_larger_gradient():
    norms = {}
    for pick in ("sure", "unsure"):
        cell = AttackCell(pick, SHORT, network="lenet", batch_size=2, pick=pick)
        norms[pick] = [cell.measure(Bench(), seed)["norm"] for seed in range(3)]
    assert sum(norms["unsure"]) > sum(norms["sure"])


def test_the_offset_by_hand():
    picture = torch.zeros(1, 32, 32)
    picture[:, 8:20, 8:20] = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    assert offset(picture, picture) == 0
    assert offset(picture, picture.roll((3, 4), (1, 2))) == pytest.approx(5, abs=0.2)


def test_a_long_attack_of_a_study_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    cell = AttackCell("one", shorter(ATTACKS["inverting-gradients"], 20), network="lenet", batch_size=1)
    whole, bench = cell.measure(Bench(), 0), Bench()
    real, calls = StageRun.step, []

    def step(self, number, look):
        calls.append(number)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return real(self, number, look)

    monkeypatch.setattr(StageRun, "step", step)
    with pytest.raises(KeyboardInterrupt), bench.measuring(None, tmp_path / "trial"):
        cell.measure(bench, 0)
    with bench.measuring(None, tmp_path / "trial"):
        again = cell.measure(bench, 0)
    assert again["psnr"] == pytest.approx(whole["psnr"])
    assert len(calls) < 22


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "label-inference"])
def test_what_a_study_compares_is_what_it_measures(name):
    study = STUDIES[name]
    for scale, cells in study.cells.items():
        names = [cell.name for cell in cells]
        assert len(set(names)) == len(names), scale
    known = {cell.name for cells in study.cells.values() for cell in cells}
    assert {name for one in study.comparisons for name in one.cells} <= known
    assert study.reported.keys() <= known
    assert study.repeats.keys() == study.cells.keys() or set(study.cells) <= set(study.repeats)


def test_afgi_time_marks_only_what_is_reached():
    cell = TimeCell("one", shorter(ATTACKS["inverting-gradients"], 8), network="lenet", batch_size=1)
    values = cell.measure(Bench(), 0)
    for name in [name for name in values if name.startswith("reached")]:
        assert (values[name] == 1) == (name.replace("reached", "seconds to") in values)


def test_ctrl_c_keeps_what_was_measured(gradaudit, tmp_path, monkeypatch):
    def measure(self, bench, seed):
        if seed == 1:
            raise KeyboardInterrupt
        return {"psnr": 1.0}

    monkeypatch.setattr(type(STUDIES["sok-table-1"].cells["quick"][0]), "measure", measure)
    code, _, err = gradaudit(
        "study", "sok-table-1", "--scale", "quick", "--workers", "1", "--out", str(tmp_path / "out")
    )
    assert code == 130
    assert "interrupted: 5 of 10 measurements are kept in" in err
    assert "Run the same command again to resume" in err
    assert (tmp_path / "out/study.html").exists()


def test_ctrl_c_before_anything_was_measured(gradaudit, tmp_path, monkeypatch):
    def missing(self, bench):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(STUDIES["sok-table-1"].cells["quick"][0]), "missing", missing)
    code, _, err = gradaudit("study", "sok-table-1", "--scale", "quick", "--out", str(tmp_path / "out"))
    assert code == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_the_best_is_marked_unless_no_number_is_better(tmp_path):
    def marked(**options):
        table = Table("Squares", {"square": "square"}, best="column", **options)
        return [name for name, (entry,) in entries(run(tmp_path), table) if entry.best]

    assert marked() == ["size 2"]
    assert marked(smaller=("square",)) == ["size 1"]
    assert marked(unranked=("square",)) == []
    for unranked, said in ((("square",), False), ((), True)):
        study = replace(TOY, tables=(Table("Squares", {"square": "square"}, unranked=unranked),))
        page = write_study(replace(run(tmp_path), study=study), tmp_path).read_text(encoding="utf-8")
        assert ("is bold" in page) is said
