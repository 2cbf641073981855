"""`gradaudit compare` and `gradaudit merge`, as a user types them."""

import csv
import dataclasses
import io
import json
import math

import pytest

from comparison_cases import RUN, finding, run_folder, unjudged


@pytest.fixture
def runs(tmp_path):
    """Run `a` with two attacks, and run `b` with one of them defended, of which one batch cannot be judged."""
    attacks = [(name, number, i) for number, name in enumerate(("dlg", "ig")) for i in range(2)]
    run_folder(tmp_path / "a", [finding(name, i, 20.0 + i + 2 * n, number=n) for name, n, i in attacks], pictures=True)
    defended = [finding("dlg", 0, 14.0, client="noise"), unjudged(attack="dlg", repeat=1, client="noise")]
    run_folder(tmp_path / "b", defended)


def test_the_tables_of_two_runs(gradaudit, runs):
    code, out, err = gradaudit("compare", "a", "b")
    assert (code, err) == (0, "")
    assert "19.5 [19.0, 20.0]" in out
    assert "+2.0 [+2.0, +2.0]" in out
    assert "Paired differences from dlg, no defense" in out
    assert "1 of 2 batches cannot be judged: the update holds nothing." in out


def test_one_run_and_one_series(gradaudit, tmp_path):
    run_folder(tmp_path / "one", [finding()])
    code, out, _ = gradaudit("compare", "one")
    assert code == 0
    assert "Paired" not in out
    assert "A mean of one batch has no interval." in out


def test_csv_and_json_hold_the_same_numbers(gradaudit, runs):
    code, out, err = gradaudit("compare", "a", "b", "--format", "csv", "--metric", "psnr,gain", "--metric", "verified")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["metric"] for row in rows] == ["psnr", "gain", "verified"] * 3
    document = json.loads(gradaudit("compare", "a", "b", "--json", "--metric", "psnr")[1])
    means = [one["columns"]["psnr"]["mean"]["mean"] for one in document["series"]]
    assert means == [float(row["mean"]) for row in rows if row["metric"] == "psnr"]
    assert document["series"][2]["batches"][1]["not_judged"] == "the update holds nothing."
    assert document["series"][2]["columns"]["psnr"]["mean"]["low"] is None


@pytest.mark.parametrize(("layout", "part"), [("markdown", "| dlg, noise | 1 of 2 | 14.0 |"), ("latex", r"\toprule")])
def test_other_formats(gradaudit, runs, layout, part):
    code, out, _ = gradaudit("compare", "a", "b", "--format", layout)
    assert code == 0
    assert part in out


def test_the_page_and_the_figure_are_written(gradaudit, runs, tmp_path):
    code, out, err = gradaudit("compare", "a", "b", "--out", "p.html", "--figure", "new/f.svg", "--format", "csv")
    assert code == 0
    assert len(list(csv.reader(io.StringIO(out)))) == 1 + 3 * 4
    assert f"Page: {tmp_path / 'p.html'}" in err
    assert "<svg" in (tmp_path / "new/f.svg").read_text()
    assert "<svg" in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "none"), "none: there is no such folder"),
        (("compare", "a", "a"), "a: is given twice"),
        (("compare", "a", "--format", "cvs"), "--format cvs: unknown. Did you mean csv?"),
        (("compare", "a", "--metric", "psnr,"), "--metric psnr,: holds an empty name"),
        (("compare", "a", "--metric", "ssmi"), "Did you mean ssim?"),
        (("compare", "a", "--baseline", "nothing"), "--baseline nothing: no series has this label"),
        (("compare", "a", "--figure", "f.jpg"), "--figure f.jpg: the name must end in"),
        (("compare", "a", "--figure", "a"), "--figure a: the name must end in"),
        (("compare", "a", "--out", "page"), "--out page: is the page"),
        (("compare", "a", "--out", "a/report.html"), "is the report of that run"),
        (("merge", "a", "--out", "c"), "merge: name at least two folders"),
        (("merge", "a", "b", "--out", "a"), "--out a: is one of the folders"),
    ],
)
def test_mistakes_are_one_line(gradaudit, runs, arguments, message):
    code, out, err = gradaudit(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_markup_and_control_characters_are_shown_literally(gradaudit, tmp_path):
    name = "[red]x[/red]\x1b[31m\u202e<b>"
    run_folder(tmp_path / "a", [finding(name)])
    for layout in ("table", "markdown", "latex", "csv"):
        code, out, _ = gradaudit("compare", "a", "--format", layout, "--out", "p.html")
        assert code == 0
        assert "\x1b" not in out
        assert "\u202e" not in out
    assert "[red]x[/red]" in out
    page = (tmp_path / "p.html").read_text()
    assert "\x1b" not in page
    assert "<b>" not in page


def test_scores_that_are_no_numbers(gradaudit, tmp_path):
    run_folder(tmp_path / "a", [finding(repeat=0), finding(repeat=1, seconds=math.nan)])
    code, out, _ = gradaudit("compare", "a", "--json")
    assert code == 0
    assert json.loads(out)["series"][0]["columns"]["seconds"]["mean"]["n"] == 1


def test_merging_audits_writes_the_report(gradaudit, runs, tmp_path):
    run_folder(tmp_path / "more", [finding("dlg", 5)])
    code, out, err = gradaudit("merge", "a", "more", "--out", "c")
    assert (code, err) == (0, "")
    assert f"{tmp_path / 'c'}: 5 trials, 5 of them new." in out
    assert "<html" in (tmp_path / "c/report.html").read_text()
    assert gradaudit("compare", "c")[0] == 0


def test_merging_sweeps_writes_their_page(gradaudit, tmp_path):
    for name, std in (("a", 0.1), ("b", 0.2)):
        record = dataclasses.replace(RUN, kind="sweep", planned=1, grid={"defenses.0.std": (std,)})
        run_folder(tmp_path / name, [finding(grid={"defenses.0.std": std})], record, pictures=True)
    code, out, err = gradaudit("merge", "a", "b", "--out", "c")
    assert (code, err) == (0, "")
    assert "Report: " in out
    assert (tmp_path / "c/sweep.html").exists()
    shown = gradaudit("compare", "c", "--metric", "psnr")[1]
    assert "dlg, std=0.1" in shown
    assert "dlg, std=0.2" in shown


def test_every_conflict_is_one_line_and_the_exit_code_2(gradaudit, runs, tmp_path):
    run_folder(tmp_path / "x", [finding("dlg", i, 50.0) for i in range(2)], pictures=True)
    code, out, err = gradaudit("merge", "a", "x", "--out", "c")
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("conflict: dlg, no defense, batch 1, seed 0 (trial ")
    assert "psnr 19 in a, 49 in x" in lines[0]
    assert lines[2].startswith("error: merge: 2 trials have different results, so nothing was written.")
    assert not (tmp_path / "c").exists()
