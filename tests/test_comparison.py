"""Series, their intervals, their paired differences, and how they are written."""

import csv
import dataclasses
import io
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy import stats

from comparison_cases import RUN, finding, run_folder, study_folder, unjudged
from gradaudit.comparison import Paired, open_folder, read_series, side_by_side
from gradaudit.comparison.pairing import COVERAGE
from gradaudit.execution.journal import Failure
from gradaudit.metrics import Interval, bootstrap_interval
from gradaudit.report.comparison_figure import svg_figure
from gradaudit.report.comparison_latex import latex_tables, latex_text
from gradaudit.report.comparison_page import write_comparison
from gradaudit.report.comparison_plot import write_figure
from gradaudit.report.comparison_tables import csv_table, markdown_tables, tables
from gradaudit.values.errors import AuditError
from gradaudit.values.scores import Score, Scores

PSNR = (20.0, 21.5, 19.0, 22.0)
GAPS = (3.0, 4.5, 2.0, 5.5)


@pytest.fixture
def two(tmp_path):
    """One audit: dlg, and ig better by GAPS."""
    weak = [finding("dlg", i, psnr) for i, psnr in enumerate(PSNR)]
    strong = [finding("ig", i, psnr + gap, number=1) for i, (psnr, gap) in enumerate(zip(PSNR, GAPS, strict=True))]
    return run_folder(tmp_path / "a", weak + strong, dataclasses.replace(RUN, planned=8))


def compared(*folders, **options):
    return side_by_side(*read_series(folders), **options)


# Intervals


def test_the_bootstrap_is_that_of_scipy():
    values = sorted([1.0, 2.5, 2.7, 4.0, 9.0, 3.3])
    found = bootstrap_interval(values, seed=5)
    same = {"n_resamples": 9_999, "method": "BCa", "random_state": np.random.default_rng(5)}
    assert (found.low, found.high) == tuple(stats.bootstrap((values,), np.mean, **same).confidence_interval)
    assert (found.mean, found.n) == (pytest.approx(np.mean(values)), 6)


def test_the_bootstrap_is_close_to_percentiles_of_resampled_means():
    values = np.random.default_rng(1).normal(10, 2, 40)
    means = np.random.default_rng(2).choice(values, (20_000, 40)).mean(1)
    found = bootstrap_interval(values)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.1)


def test_the_bootstrap_depends_on_the_values_alone():
    values = [9.1, 1.0, 4.3, 2.5, 7.7, 0.2]
    assert bootstrap_interval(values) == bootstrap_interval(values[::-1]) == bootstrap_interval(sorted(values))
    assert bootstrap_interval([1.0, 2.0, 4.0, 8.0], 0.5).high < bootstrap_interval([1.0, 2.0, 4.0, 8.0]).high


def test_the_bootstrap_of_equal_values_and_of_one():
    assert bootstrap_interval([0.1] * 3) == Interval(0.1, 0.1, 0.1, 3)
    alone = bootstrap_interval([7.0])
    assert (alone.mean, alone.n) == (7.0, 1)
    assert math.isnan(alone.low)
    assert math.isnan(alone.high)
    with pytest.raises(AuditError, match="NaN"):
        bootstrap_interval([1.0, math.nan])


def test_where_bca_is_undefined_the_percentiles_are_taken():
    found = bootstrap_interval([1e140, 2.0, 3.0])  # the skewness that BCa needs is out of range
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(("n", "share"), [(n, percent / 100) for n, percent in COVERAGE.items()])
def test_the_notes_give_the_coverage_that_is_measured(n, share):
    rows = np.random.default_rng(n).normal(1.0, 1.0, (250, n))
    covered = np.mean([found.low <= 1.0 <= found.high for found in map(bootstrap_interval, rows)])
    assert covered == pytest.approx(share, abs=0.07)


# Series


def test_attacks_of_one_run_are_series(two):
    found = compared(two)
    assert [one.label for one in found.series] == ["dlg", "ig"]
    assert found.means["dlg", "psnr"] == bootstrap_interval(PSNR)
    assert found.means["dlg", "gain"].mean == pytest.approx(np.mean(PSNR) - 12)
    assert [quantity.key for quantity in found.quantities] == ["psnr", "gain", "label accuracy", "seconds"]
    assert found.differences["ig", "psnr"].interval == bootstrap_interval(GAPS)


def test_the_baseline_turns_the_sign(two):
    found = compared(two, baseline="ig")
    assert found.differences["dlg", "psnr"].interval.mean == pytest.approx(-np.mean(GAPS))
    with pytest.raises(AuditError, match=r"--baseline igg: .*Did you mean ig\?"):
        compared(two, baseline="igg")


def test_metrics_are_found_however_they_are_spelled(two):
    found = compared(two, metrics=["label-accuracy", "Verified"])
    assert [quantity.key for quantity in found.quantities] == ["label accuracy", "verified"]
    assert found.means["ig", "verified"].mean == 1.0
    with pytest.raises(AuditError, match=r"--metric psn: unknown\. Did you mean psnr"):
        compared(two, metrics=["psn"])
    with pytest.raises(AuditError, match="--metric identified: no series has a value"):
        compared(two, metrics=["identified"])


def test_granted_labels_are_no_accuracy(tmp_path):
    granted = [finding(repeat=i, label_accuracy=1.0, labels_granted=True) for i in range(2)]
    keys = [quantity.key for quantity in compared(run_folder(tmp_path / "a", granted)).quantities]
    assert "label accuracy" not in keys


def test_clients_cells_and_folders_are_in_the_label_only_where_they_differ(tmp_path):
    noisy = [finding(repeat=i, client="noise") for i in range(2)]
    a = run_folder(tmp_path / "a", [finding(repeat=0), *noisy])
    b = run_folder(tmp_path / "b", [finding(repeat=0)])
    labels = [one.label for one in read_series([a, b])[0]]
    assert labels == ["dlg, no defense (a)", "dlg, noise", "dlg, no defense (b)"]
    cells = [
        finding(grid={"attacks.0.stages.0.steps": n, "data.size": 8, "seed": 0}, client=f"noise {n}") for n in (10, 20)
    ]
    sweep = run_folder(tmp_path / "c", cells, dataclasses.replace(RUN, kind="sweep"))
    assert [one.label for one in read_series([sweep])[0]] == ["dlg, steps=10", "dlg, steps=20"]


def test_equal_names_are_numbered(tmp_path):
    values = ["A()", "B()"]
    folder = run_folder(tmp_path / "a", [finding(attack_value=value, trial=value, case=value) for value in values])
    other = tmp_path / "deep" / "a"
    other.parent.mkdir()
    run_folder(other, [finding(attack_value="A()")])
    labels = [one.label for one in read_series([folder, other])[0]]
    assert len(set(labels)) == 3
    assert labels[1].endswith("#2")


def test_clients_of_one_name_are_two_series(tmp_path):
    cases = [finding(client_value=value, trial=value, case=value) for value in ("Client(1)", "Client(2)")]
    assert [one.label for one in read_series([run_folder(tmp_path / "a", cases)])[0]] == ["dlg #1", "dlg #2"]


def test_one_batch_without_a_fingerprint_is_enough_to_refuse(tmp_path):
    a = run_folder(tmp_path / "a", [finding(repeat=0), finding(repeat=1)])
    b = run_folder(tmp_path / "b", [finding(repeat=0), finding(repeat=1, batch="")])
    assert "recorded no fingerprints" in compared(a, b).differences["dlg (b)", "psnr"].why_not


def test_a_sweep_over_seeds_is_one_series(tmp_path):
    cells = [finding(seed=seed, grid={"seed": seed}) for seed in range(3)]
    (one,) = read_series([run_folder(tmp_path / "a", cells)])[0]
    assert [entry.key[1] for entry in one.entries] == [0, 1, 2]


def test_cases_without_scores_are_counted_and_never_zero(tmp_path):
    cases = [finding(repeat=0, psnr=20.0), finding(repeat=1, psnr=22.0), unjudged(repeat=2)]
    found = compared(run_folder(tmp_path / "a", cases, dataclasses.replace(RUN, planned=3)))
    assert (found.means["dlg", "psnr"].mean, found.means["dlg", "psnr"].n) == (21.0, 2)
    assert "dlg: 1 of 3 batches cannot be judged: the update holds nothing." in found.notes
    assert tables(found)[0].rows[0][1] == "2 of 3"
    assert "unfinished" not in " ".join(found.notes)


def test_scores_of_a_case_that_cannot_be_judged_do_not_count(tmp_path):
    cases = [finding(repeat=0, psnr=20.0), finding(repeat=1, psnr=90.0, cannot_judge="no room")]
    assert compared(run_folder(tmp_path / "a", cases)).means["dlg", "psnr"].mean == 20.0


def test_nothing_judged_is_an_error_with_the_reason(tmp_path):
    folder = run_folder(tmp_path / "a", [unjudged("the model is linear.")])
    with pytest.raises(AuditError, match=r"no case can be judged.*the model is linear"):
        compared(folder)


def test_values_that_are_no_numbers_are_said(tmp_path):
    cases = [finding(repeat=0), finding(repeat=1, objective=math.nan)]
    found = compared(run_folder(tmp_path / "a", cases), metrics=["objective", "psnr"])
    assert found.means["dlg", "objective"].n == 1
    assert "dlg: the objective of 1 of 2 batches is no finite number." in found.notes
    assert tables(found)[0].rows[0][2][0].count == "n = 1"


def test_a_metric_without_any_finite_value_keeps_its_column(tmp_path):
    scores = Scores({"psnr": Score.of((math.nan, 20.0))})
    found = compared(run_folder(tmp_path / "a", [finding(repeat=i, scores=scores) for i in range(2)]))
    assert tables(found)[0].rows[0][2][0].text == "n/a"
    assert "n/a" in svg_figure(found)
    assert "dlg: the PSNR of 2 of 2 batches is no finite number." in found.notes


def test_failed_and_unfinished_trials_are_named(tmp_path):
    failed = Failure("t", "ig, batch 1", "out of memory")
    found = compared(run_folder(tmp_path / "a", [finding()], failures=[failed]))
    assert "a: a trial failed and is missing here: ig, batch 1: out of memory" in found.notes
    assert "a: is unfinished: 1 of 4 cases are compared." in found.notes


def test_few_batches_are_said(two):
    assert any("Intervals over 4 batches are too narrow" in note for note in compared(two).notes)


def test_cells_of_a_study(tmp_path):
    rows = [(cell, seed, {"psnr": 20.0 + k * (seed + 1)}) for k, cell in enumerate(("one", "two")) for seed in range(3)]
    rows.append(("two", 3, {"psnr": None, "ssim": 0.5}))
    found = compared(study_folder(tmp_path / "s", rows, failed=["two-4"]))
    assert found.differences["two", "psnr"].interval == bootstrap_interval([1.0, 2.0, 3.0])
    assert "two: 1 of 4 batches has no psnr." in found.notes
    assert any("two-4: out of memory" in note for note in found.notes)


# What cannot be paired


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "cifar"}, "other data: no batch is the same, although the seeds are"),
        ({"seed": 7}, "other seeds, so that no batch is the same: seed 7 against seed 0"),
        ({"seed": 7, "batch": "photographs-0-0"}, "other seeds on the same data: seed 7 against seed 0"),
        (
            {"repeat": 1, "batch": "photographs-0-0"},
            "other repeats: the same data and seed, under another number of the batch",
        ),
        ({"batch": ""}, "b recorded no fingerprints of its data; run it again with this release"),
        ({"label_accuracy": None}, ""),
    ],
)
def test_what_is_not_the_same_batch_is_not_paired(tmp_path, changes, reason):
    a = run_folder(tmp_path / "a", [finding()])
    b = run_folder(tmp_path / "b", [finding(psnr=25.0, **changes)])
    found = compared(a, b)
    paired = found.differences["dlg (b)", "psnr"]
    assert paired.why_not == reason
    assert (paired.interval is None) == bool(reason)
    assert any("is not paired" in note and reason in note for note in found.notes) or not reason


def test_a_quantity_that_one_of_them_lacks_is_not_paired(tmp_path):
    a = run_folder(tmp_path / "a", [finding()])
    b = run_folder(tmp_path / "b", [finding(label_accuracy=None)])
    found = compared(a, b)
    assert found.differences["dlg (b)", "label accuracy"] == Paired(why_not="it has no value")
    assert "dlg (b) is not paired with dlg (a): it has no value (label accuracy)." in found.notes


def test_batches_that_only_one_has_are_left_out_and_counted(tmp_path):
    a = run_folder(tmp_path / "a", [finding(repeat=i) for i in range(4)])
    b = run_folder(tmp_path / "b", [finding(repeat=i, psnr=21.0 + i) for i in range(1, 3)] + [unjudged(repeat=3)])
    paired = compared(a, b).differences["dlg (b)", "psnr"]
    assert paired.interval == bootstrap_interval([2.0, 3.0])
    assert paired.remark == "the 2 batches that have a value in both; 2 others are left out"


def test_studies_and_audits_are_not_paired(two, tmp_path):
    found = compared(two, study_folder(tmp_path / "s", [("cell", 0, {"psnr": 20.0})]))
    assert "not of the same study" in found.differences["cell, table", "psnr"].why_not


# Folders


def test_folders_that_are_no_runs_are_refused(two, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "missing", "there is no such folder"),
        (tmp_path / "empty", r"holds neither run\.json nor bench\.json"),
        (run_folder(tmp_path / "new", []), "no trial is finished"),
    ]:
        with pytest.raises(AuditError, match=message):
            compared(path)
    with pytest.raises(AuditError, match="given twice"):
        compared(two, two.parent / "." / "a")
    (two / "bench.json").write_text("{}")
    with pytest.raises(AuditError, match=r"both run\.json and bench\.json"):
        open_folder(two)


def test_a_failure_that_was_done_later_is_none(tmp_path):
    folder = run_folder(tmp_path / "a", [finding()], failures=[Failure(finding().trial, "dlg", "error")])
    assert not open_folder(folder).failures


# How it is written

NASTY = r"a_b & 50% \cmd{x} $y^2$ #1 ~<b>|" + "τ\u202e\x1b[0m"


@pytest.fixture
def nasty(tmp_path):
    cases = [finding(NASTY, i, PSNR[i]) for i in range(3)] + [finding("=1+1", i, 25.0, number=1) for i in range(3)]
    return compared(run_folder(tmp_path / "n", cases))


def test_latex_is_escaped():
    assert latex_text("a_b & 50% {x} $y^2$ #~") == (r"a\_b \& 50\% \{x\} \$y\textasciicircum{}2\$ \#\textasciitilde{}")
    assert latex_text("\\") == r"\textbackslash{}"
    assert latex_text("[1pt] *") == "{[}1pt{]} {*}"  # after a line break they would start an argument
    assert latex_text("τ Δ é 中\n\x1b") == "$\\tau$ $\\Delta$ é \\texttt{U+4E2D}\\textbackslash{}n\\textbackslash{}x1b"
    assert "Greek" not in latex_text("\u03db\u0391")  # stigma and capital alpha have no command
    assert latex_text("\u03db\u0391") == r"\texttt{U+03DB}\texttt{U+0391}"


def test_latex_is_balanced_and_has_equal_rows(nasty):
    text = latex_tables(nasty)
    plain = re.sub(r"\\.", "", text)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.S):
        rows = [line for line in body.split("\n") if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {5}
    assert len(re.findall(r"\$\+?-?[\d.]+_\{\[.*?\]\}\$", text)) >= 6
    assert text.isascii()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2


def test_csv_reads_back(two):
    found = compared(two)
    rows = list(csv.DictReader(io.StringIO(csv_table(found))))
    assert len(rows) == 2 * 4
    by_key = {(row["series"], row["metric"]): row for row in rows}
    interval = found.differences["ig", "psnr"].interval
    row = by_key["ig", "psnr"]
    assert (float(row["difference"]), float(row["difference_low"]), float(row["difference_high"])) == (
        interval.mean, interval.low, interval.high,
    )  # fmt: skip
    assert (row["pairs"], row["n"], row["batches"], row["baseline"], row["unit"]) == ("4", "4", "4", "dlg", "dB")
    assert float(by_key["ig", "label accuracy"]["mean"]) == 0.5
    assert by_key["dlg", "psnr"]["difference"] == ""


def test_csv_holds_no_formula_and_no_control_character(nasty):
    rows = list(csv.reader(io.StringIO(csv_table(nasty))))
    assert {row[0] for row in rows[1:]} == {NASTY.replace("\u202e", r"\u202e").replace("\x1b", r"\x1b"), "'=1+1"}
    assert len({len(row) for row in rows}) == 1


def test_markdown_rows_have_equal_cells(nasty):
    text = markdown_tables(nasty)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()} == {7}
    assert "<b>" not in text
    assert "\x1b" not in text


def test_the_figure_is_well_formed(nasty):
    root = ET.fromstring(svg_figure(nasty, alone=True))
    kind = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{kind}svg"
    assert len(root.findall(f".//{kind}circle")) == 4 * 6  # one dot for each batch and quantity
    assert len(root.findall(f"{kind}g")) == 4
    assert not root.findall(f".//{kind}b")


def test_dots_and_intervals_stand_where_their_values_are(two):
    root = ET.fromstring(svg_figure(compared(two, metrics=["psnr"])))
    places = [float(dot.get("cx")) for dot in root.iter("circle")]
    values = [*PSNR, *(psnr + gap for psnr, gap in zip(PSNR, GAPS, strict=True))]
    slope = (places[7] - places[0]) / (values[7] - values[0])
    assert places == pytest.approx([places[0] + slope * (value - values[0]) for value in values], abs=0.1)
    bars = [line for line in root.iter("line") if line.get("stroke-width") == "2"]
    mean = bootstrap_interval(PSNR)
    ends = (float(bars[0].get("x1")), float(bars[0].get("x2")))
    assert ends == pytest.approx([places[0] + slope * (end - values[0]) for end in (mean.low, mean.high)], abs=0.1)


def test_the_page_is_self_contained_and_escaped(nasty, tmp_path):
    page = write_comparison(nasty, ["n"], tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "<b>|" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    assert page.count("<svg") == 1
    assert "Paired differences from" in page
    assert "fingerprint of the private batch" in page
    for note in nasty.notes:
        assert note.split(":")[-1].strip()[:40].replace("'", "&#39;") in page or "\x1b" in note


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<svg")])
def test_figures_are_written_in_the_format_of_their_ending(tmp_path, ending, start):
    pytest.importorskip("matplotlib")
    found = compared(run_folder(tmp_path / "a", [finding(r"$\no{ $", i) for i in range(2)]))  # no formula
    path = write_figure(found, tmp_path / f"figure.{ending}")
    assert path.read_bytes().startswith(start)


def test_png_without_matplotlib_names_the_extra(two, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(AuditError, match=r"matplotlib, the extra `plot`"):
        write_figure(compared(two), tmp_path / "figure.png")
    with pytest.raises(AuditError, match=r"must end in \.svg, \.png or \.pdf"):
        write_figure(compared(two), tmp_path / "figure.jpg")
    assert write_figure(compared(two), tmp_path / "figure.svg").exists()
