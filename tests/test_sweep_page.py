"""The page of a sweep: what it says about each cell, what it draws, and what its CSV holds."""

import csv
import dataclasses
import io
import json
import math
import re

import pytest

from gradaudit.report import sweep_sections
from gradaudit.report.album import Album
from gradaudit.report.heat_map import SHADES, shade
from gradaudit.report.sweep_cells import swept
from gradaudit.report.sweep_charts import sweep_charts
from gradaudit.report.sweep_page import write_sweep
from gradaudit.values.errors import AuditError
from gradaudit.values.finding import Finding, RunRecord, Score, Scores
from gradaudit.values.measures import MEASURES
from gradaudit.values.transcript import Transcript, TranscriptLine
from gradaudit.values.types import Modality
from sweep_cases import finding, sweep

STD = "defenses.0.std"


def shown(folder, findings, record):
    """The page with plain spaces, and the rows of the CSV."""
    page = write_sweep(findings, record, folder).read_text(encoding="utf-8")
    table = (folder / "sweep.csv").read_text(encoding="utf-8")
    return page.replace("\N{NO-BREAK SPACE}", " ").replace("&nbsp;", " "), list(csv.DictReader(io.StringIO(table)))


def drawn(folder, grid, gain, **options):
    findings, record = sweep(folder, grid, gain, **options)
    return shown(folder, findings, record)


def charts(folder, findings, record):
    found = swept(findings, record, Album(folder))
    return sweep_charts(found, record.grid, record.zipped)


def sentences(page):
    found = re.findall(r'<p class="sentence"><strong>(.*?)</strong> (.*?)</p>', page)
    return [" ".join(pair) for pair in found]


def test_every_cell_is_in_one_verdict_worst_first(tmp_path):
    gains = {0: 15.0, 1: 15.0, 2: 4.0, 3: 0.5, 4: math.nan, 5: None}
    page, _ = drawn(tmp_path, {STD: range(6)}, lambda at, *_: gains[at[STD]])
    assert sentences(page) == [
        "Recognisable: private images were recovered in 2 of 6 cells.",
        "Traces: none of the private images was recovered in 1 of 6 cells, but there are traces of them.",
        "Cannot be judged: 1 of 6 cells. That is not a sign that nothing leaks there.",
        "Not run: 1 of 6 cells without a result.",
        "Nothing recognisable was recovered in 1 of 6 cells; that is not a proof of privacy.",
    ]
    assert "The largest leak: cell 1 (defenses.0.std=0): 1 of 1 image was recovered (27.0 dB, 15.0 dB above" in page
    assert 'Cells: <a href="#cell-1">1</a>, <a href="#cell-2">2</a></p>' in page
    assert "Cells: 6</p>" in page  # nothing to link to
    assert "Unfinished sweep: 5 of 6 trials. Run the same command again to resume." in page


def test_a_cell_with_missing_trials_is_never_called_clear(tmp_path):
    """One of two batches has run, or failed: nothing recognisable in it is no result."""

    def gain(at, _, repeat):
        return None if (at[STD], repeat) == (1, 1) else 0.0

    page, _ = drawn(tmp_path, {STD: [1, 2]}, gain, repeats=2)
    assert sentences(page) == [
        "Unfinished: trials of 1 of 2 cells are missing; so far, nothing recognisable was recovered there.",
        "Nothing recognisable was recovered in 1 of 2 cells; that is not a proof of privacy.",
    ]
    leaking, _ = drawn(tmp_path, {STD: [3, 4]}, lambda at, _, repeat: None if repeat else 20.0, repeats=2)
    assert sentences(leaking) == ["Recognisable: private images were recovered in 2 of 2 cells."]
    assert "Trials of this cell are missing." in leaking


@pytest.mark.parametrize("key", ["repeats", "attacks"])
def test_the_number_of_trials_of_a_cell_follows_its_values(tmp_path, key):
    values = [1, 3] if key == "repeats" else [["dlg"], ["dlg", "tag", "idlg"]]
    cells = [(finding(tmp_path, {key: values[0]}, 0.0),), ()]
    cells[1] = tuple(
        finding(tmp_path, {key: values[1]}, 0.0, cell=1, **{"repeat" if key == "repeats" else "position": i})
        for i in range(2)
    )
    record = RunRecord("A sweep", "", "photographs", 4, kind="sweep", grid={key: tuple(values)})
    first, second = swept([*cells[0], *cells[1]], record, Album(tmp_path)).cells
    assert first.complete
    assert not second.complete


def test_an_unknown_number_of_trials_makes_every_cell_incomplete_until_all_are_done(tmp_path):
    findings, record = sweep(tmp_path, {STD: [1, 2]}, lambda *_: 0.0)
    odd = dataclasses.replace(record, planned=3)
    assert [cell.complete for cell in swept(findings, odd, Album(tmp_path)).cells] == [False, False]
    assert [cell.complete for cell in swept(findings, record, Album(tmp_path)).cells] == [True, True]


def test_failures_are_named(tmp_path):
    findings, record = sweep(tmp_path, {STD: [1, 2]}, lambda at, *_: None if at[STD] == 2 else 0.0)
    failures = tuple(f"cell {i}: <b>out of memory</b>" for i in range(25))
    page, _ = shown(tmp_path, findings, dataclasses.replace(record, failures=failures))
    assert "25 trials failed. Their cells are judged without them." in page
    assert page.count("&lt;b&gt;out of memory") == 20
    assert "and 5 more" in page


def test_no_findings_make_a_sensible_page(tmp_path):
    page, rows = drawn(tmp_path, {STD: [1, 2]}, lambda *_: None)
    assert sentences(page) == ["Not run: 2 of 2 cells without a result."]
    assert "contains private" not in page
    assert rows == []
    assert (tmp_path / "sweep.csv").read_text() == f"cell,{STD}\n"


def test_one_numeric_key_makes_lines_with_a_link_at_each_point(tmp_path):
    grid = {STD: [0, 0.1, 0.001]}
    page, _ = drawn(tmp_path, grid, lambda at, attack, _: 10 - 50 * at[STD], attacks=("dlg", "tag"), repeats=2)
    assert 'class="heat' not in page
    chart = page[page.index('<svg role="group"') : page.index("</svg>")]
    assert re.findall(r'<a href="#cell-(\d)">', chart) == ["1", "3", "2"] * 2  # in the order of the values
    assert chart.count("<polyline") == 2
    assert [text for text in ("dlg", "tag") if f">{text}</text>" in chart] == ["dlg", "tag"]
    assert [re.search(rf">{tick}</text>", chart) is not None for tick in ("0", "0.001", "0.1")] == [True] * 3
    assert "0 stands at its left end" in page
    assert "cell 3: defenses.0.std=0.001; dlg: +9.9 dB [+9.9, +9.9], n = 2. Recognisable:" in chart


def test_a_line_is_interrupted_where_a_cell_has_no_number(tmp_path):
    gains = {1: 10.0, 2: math.nan, 3: None, 4: 1.0}
    page, _ = drawn(tmp_path, {STD: [1, 2, 3, 4]}, lambda at, *_: gains[at[STD]])
    chart = page[page.index('<svg role="group"') : page.index("</svg>")]
    assert chart.count("<polyline") == 2
    assert chart.count("<circle") == 2
    assert "Without a point: dlg in cell 2 (cannot be judged); dlg in cell 3 (not run, or failed)" in page


def test_two_keys_make_a_heat_map_for_each_attack(tmp_path):
    findings, record = sweep(
        tmp_path, {"training.batch_norm": ["eval", "train"], STD: [0, 1, 2]},
        lambda at, attack, _: (9 if attack == "dlg" else 3) - 3.0 * at[STD], attacks=("dlg", "tag"),
    )  # fmt: skip
    gains, labels = charts(tmp_path, findings, record)
    assert [map_.heading for map_ in gains.maps] == ["dlg", "tag"]
    first = gains.maps[0]
    assert (first.across, first.down, first.columns) == (STD, "training.batch_norm", ("0", "1", "2"))
    assert [(name, [entry.text for entry in row]) for name, row in first.rows] == [
        ("eval", ["+9.0", "+6.0", "+3.0"]),
        ("train", ["+9.0", "+6.0", "+3.0"]),
    ]
    entries = first.rows[1][1]
    assert [entry.mark for entry in entries] == ["●", "●", "○"]
    assert [entry.address for entry in entries] == ["#cell-4", "#cell-5", "#cell-6"]
    title = entries[0].title.replace("\N{NO-BREAK SPACE}", " ")
    assert title.startswith("cell 4: training.batch_norm=train, defenses.0.std=0; dlg: +9.0 dB, n = 1. Recognisable: 1")
    assert [entry.kind for entry in entries] == ["shade-6", "shade-4", "shade-2"]
    assert labels.title == "Label accuracy in %"


def test_more_keys_make_panels_and_every_cell_has_its_place(tmp_path):
    grid = {"training.batch_norm": ["eval", "train"], STD: [0, 1, 2], "clients": [1, 2, 4, 8], "seed": [5]}
    findings, record = sweep(tmp_path, grid, lambda *_: 0.0)
    (first, second) = charts(tmp_path, findings, record)[0].maps
    assert first.heading == "dlg, training.batch_norm = eval"
    assert (first.down, first.across) == ("clients", STD)
    addresses = [entry.address for map_ in (first, second) for _, row in map_.rows for entry in row]
    assert sorted(addresses) == sorted(f"#cell-{i}" for i in range(1, 25))


def test_keys_of_zip_are_one_direction(tmp_path):
    grid = {STD: [0, 1], "data.batch_size": [1, 2, 4], "attacks.0.seeds": [4, 2, 1]}
    findings, record = sweep(tmp_path, grid, lambda *_: 0.0, zipped=("data.batch_size", "attacks.0.seeds"))
    (found,) = charts(tmp_path, findings, record)[0].maps
    assert found.down == "data.batch_size / attacks.0.seeds"
    assert [name for name, _ in found.rows] == ["1 / 4", "2 / 2", "4 / 1"]
    assert [entry.address for _, row in found.rows for entry in row] == [f"#cell-{i}" for i in (1, 4, 2, 5, 3, 6)]


def test_names_of_attacks_and_whole_defenses_are_rows(tmp_path):
    findings, record = sweep(tmp_path, {"attacks.0.name": ["dlg", "tag"], STD: [0, 1]}, lambda *_: 0.0)
    (found,) = charts(tmp_path, findings, record)[0].maps
    assert (found.heading, found.down, [name for name, _ in found.rows]) == ("", "attacks.0.name", ["dlg", "tag"])
    defenses = {"defenses": [[], [{"name": "clip", "norm": 1}]]}
    findings, record = sweep(tmp_path, defenses, lambda *_: 0.0, attacks=("dlg", "dlg"))
    (found,) = charts(tmp_path, findings, record)[0].maps
    assert [name for name, _ in found.rows] == ["[]", "clip norm=1"]
    assert found.columns == ("dlg", "dlg (attacks.1)")


def test_what_is_absent_is_not_a_number(tmp_path):
    gains = {(0, 1): None, (1, 1): math.nan, (0, 2): 0.0, (1, 2): 0.0}
    findings, record = sweep(tmp_path, {STD: [0, 1], "clients": [1, 2]}, lambda at, *_: gains[at[STD], at["clients"]])
    (found,) = charts(tmp_path, findings, record)[0].maps
    entries = {entry.title[:7]: entry for _, row in found.rows for entry in row}
    assert (entries["cell 1:"].kind, entries["cell 1:"].text, entries["cell 1:"].address) == ("not-run", "not run", "")
    assert (entries["cell 3:"].kind, entries["cell 3:"].text) == ("unjudged", "?")
    assert entries["cell 2:"].text == "+0.0"


def test_a_mean_leaves_out_what_cannot_be_judged_and_says_so(tmp_path):
    gain = {0: 2.0, 1: math.nan, 2: 1.0}
    page, rows = drawn(tmp_path, {STD: [1, 2], "clients": [1, 2]}, lambda _, __, repeat: gain[repeat], repeats=3)
    assert page.count(">+1.5 ?</a>") == 4
    assert "All cells: 1 of 3 cases cannot be judged." in page
    assert [row["gain"] for row in rows[:3]] == ["2.0", "", "1.0"]
    assert sentences(page) == ["Cannot be judged: 4 of 4 cells. That is not a sign that nothing leaks there."]


def test_examples_with_a_control_that_is_too_close_do_not_calm_the_mean(tmp_path):
    at = {STD: 1}
    close = finding(
        tmp_path, at, 0.0, scores=Scores({"psnr": Score.of((40.0, 22.0))}),
        control=Scores({"psnr": Score.of((40.0, 12.0))}), labels=(1, 2), guessed_labels=None,
    )  # fmt: skip
    record = RunRecord("A sweep", "", "photographs", 1, kind="sweep", grid={STD: (1,)})
    _, rows = shown(tmp_path, [close], record)
    assert (rows[0]["gain"], rows[0]["judgeable"], rows[0]["examples"]) == ("10.0", "1", "2")


def test_traces_and_what_cannot_be_judged_are_both_marked(tmp_path):
    gain = {0: 4.0, 1: math.nan}
    findings, record = sweep(tmp_path, {STD: [1, 2], "clients": [1, 2]}, lambda *at: gain[at[-1]], repeats=2)
    (found,) = charts(tmp_path, findings, record)[0].maps
    assert {entry.mark for _, row in found.rows for entry in row} == {"○?"}
    close = {"scores": Scores({"psnr": Score.of((40.0,))}), "control": Scores({"psnr": Score.of((40.0,))})}
    findings = [dataclasses.replace(one, cannot_judge="", **close if one.repeat else {}) for one in findings]
    findings = [one if one.repeat else dataclasses.replace(one, scores=one.control) for one in findings]
    (found,) = charts(tmp_path, findings, record)[0].maps
    assert {(entry.text, entry.mark) for _, row in found.rows for entry in row} == {("+0.0", "?")}


@pytest.mark.parametrize(("value", "wanted"), [(-5, 0), (0, 0), (0.1, 1), (5, 3), (10, SHADES - 1), (99, SHADES - 1)])
def test_shades_grow_with_the_value_and_begin_above_zero(value, wanted):
    assert shade(value, 10) == wanted
    assert shade(value, 0) == 0


def test_pictures_are_few_and_the_rest_is_owned_up_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_sections, "MOST_PICTURES", 12)
    page, _ = drawn(tmp_path, {STD: list(range(6))}, lambda at, *_: float(at[STD]), repeats=3)
    assert page.count("<img ") == 12
    assert page.count("2 more images of this cell, with smaller leaks, are not shown.") == 4
    cells = re.split(r'<article class="cell" id="cell-', page)[1:]
    assert ["<img" in cell for cell in cells] == [False, False, True, True, True, True]  # the worst have theirs
    assert "Not shown, to keep this page small. The worst of this cell is images/cell0-client0-" in cells[0]


def test_large_pictures_stop_at_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_sections, "MOST_BYTES", 1)
    page, _ = drawn(tmp_path, {STD: [1, 2]}, lambda at, *_: float(at[STD]))
    assert page.count("<img ") == 3


def test_label_accuracy_is_drawn_only_if_an_attack_inferred_labels(tmp_path):
    findings, record = sweep(tmp_path, {STD: [1, 2]}, lambda *_: 0.0, labels_granted=True)
    page, _ = shown(tmp_path, findings, record)
    assert "Label accuracy" not in page
    mixed = [findings[0], dataclasses.replace(findings[1], labels_granted=False, label_accuracy=0.5)]
    page, rows = shown(tmp_path, mixed, record)
    assert "50 %, n = 1" in page
    assert [row["labels_granted"] for row in rows] == ["true", "false"]


def test_the_csv_has_a_row_for_each_finding(tmp_path):
    grid = {"defenses": [[], [{"name": "clip", "norm": 1}]], "seed": [3]}
    findings, record = sweep(tmp_path, grid, lambda *_: -1.5, attacks=("dlg", "=1+1"))
    strange = finding(tmp_path, {"defenses": "other"}, 2.0, attack="@x", client="-2\n3", trial="")
    page, rows = shown(tmp_path, [*findings, strange], record)
    assert list(rows[0]) == [
        "cell", "defenses", "seed", "attack", "client", "batch", "examples", "judgeable", "psnr", "ssim",
        "control_psnr", "control_ssim", "gain", "label_accuracy", "labels_granted", "verified", "objective", "seconds",
        "cannot_judge", "trial",
    ]  # fmt: skip
    assert [row["cell"] for row in rows] == ["1", "1", "2", "2", ""]
    assert [row["attack"] for row in rows] == ["dlg", "'=1+1", "dlg", "'=1+1", "'@x"]
    assert rows[4]["client"] == "'-2\\n3"
    assert json.loads(rows[2]["defenses"]) == [{"name": "clip", "norm": 1}]
    assert (rows[0]["gain"], rows[0]["psnr"], rows[0]["control_psnr"]) == ("-1.5", "10.5", "12.0")
    assert (rows[0]["verified"], rows[0]["seed"], rows[0]["trial"]) == ("true", "3", findings[0].trial)
    assert "1 finding of other values than those of the grid: only in sweep.csv." in page


def test_hostile_strings_stay_text(tmp_path):
    evil = '<script>alert("x")</script>'
    findings, record = sweep(
        tmp_path, {"model.name": [evil, '" onmouseover="x'], STD: [1, 2]}, lambda *_: 9.0, attacks=(evil,), client=evil,
        notes=(evil,), warnings=(evil,), no_op_defenses=(evil,), versions={evil: evil}, knowledge=(evil,),
    )  # fmt: skip
    record = dataclasses.replace(record, title=evil, configuration=evil, source=evil, failures=(evil,), version=evil)
    page, _ = shown(tmp_path, findings, record)
    assert "<script" not in page.lower()
    assert '" onmouseover="' not in page
    findings, record = sweep(tmp_path, {STD: [1, 2]}, lambda *_: 9.0, attacks=(evil,))
    assert "<script" not in shown(tmp_path, findings, record)[0].lower()


def test_the_page_refers_to_nothing_outside_and_every_link_has_its_target(tmp_path):
    page, _ = drawn(tmp_path, {STD: [1, 2], "clients": [1, 2, 3]}, lambda *_: 9.0)
    addresses = set(re.findall(r'(?:src|href|action|srcset)="([^"]*)"', page))
    assert all(address.startswith(("data:", "#")) for address in addresses)
    targets = set(re.findall(r' id="([^"]*)"', page))
    assert {address[1:] for address in addresses if address.startswith("#")} <= targets
    for forbidden in ("<script", "@import", "url(", "http://", "https://", " onload=", "<iframe"):
        assert forbidden not in page


def test_findings_and_record_from_json_give_the_same_files(tmp_path):
    findings, record = sweep(tmp_path, {"defenses": [[], [{"name": "clip", "norm": 1}]], STD: [0.0, 1]}, lambda *_: 9.0)
    before = shown(tmp_path, findings, record)
    read = RunRecord.from_json(json.loads(json.dumps(dataclasses.asdict(record))))
    again = [Finding.from_json(json.loads(json.dumps(one.to_json()))) for one in findings]
    assert shown(tmp_path, again, read) == before


ODD = [
    [1e300, 1e-300], [0, 5e-324, 1], [-1e308, 1e308], [2**63 - 1, -(2**63) + 1], [0.1, 0.1000000001], [-5, 0, 5, 500],
    [1, 1.0000000000000002], [0, 0.0001], [1, True], ["a", 1], [None, 0.1], ["\u202eabc", "x" * 5000], [[], [[1]]],
]  # fmt: skip


@pytest.mark.parametrize("values", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize("more", [{}, {"clients": [1, 2]}])
def test_odd_values_make_a_page(tmp_path, values, more):
    page, rows = drawn(tmp_path, {STD: values, **more}, lambda *_: 9.0)
    assert len(rows) == len(values) * max(1, len(more) * 2)
    assert not re.search(r"[ \">,]-?(nan|inf)[ \"<,]", page)
    assert {f'href="#cell-{i}"' in page for i in range(1, len(rows) + 1)} == {True}
    assert "\u202e" not in page


@pytest.mark.parametrize(
    "change",
    [
        {"scores": Scores({"psnr": Score.of((math.nan,))})},
        {"scores": Scores({"psnr": Score.of((math.inf,))})},
        {"scores": Scores({}), "control": Scores({}), "cannot_judge": "Why.", "labels": (), "label_accuracy": None},
        {"label_accuracy": math.nan},
        {"case": f"attack{'9' * 30}"},
        {"case": "x"},
    ],
)
def test_odd_findings_make_a_page(tmp_path, change):
    findings, record = sweep(tmp_path, {STD: [1, 2], "clients": [1, 2]}, lambda *_: 9.0, **change)
    page, rows = shown(tmp_path, findings, record)
    assert len(rows) == 4
    assert not re.search(r"[ \">,+]-?(nan|inf)[ \"<,]", page)


@pytest.mark.parametrize(
    "change",
    [
        {"grid": {STD: (1, 2), "clients": (1,)}, "zipped": (STD, "clients")},
        {"zipped": ("nowhere", STD)},
        {"grid": {f"k{i}": tuple(range(100)) for i in range(9)}},
    ],
)
def test_a_damaged_grid_is_refused(tmp_path, change):
    findings, record = sweep(tmp_path, {STD: [1, 2]}, lambda *_: 9.0)
    with pytest.raises(AuditError, match=r"run.json: its grid is damaged"):
        write_sweep(findings, dataclasses.replace(record, **change), tmp_path)


@pytest.mark.parametrize("modality", [Modality.TEXT, Modality.TABLE])
def test_texts_and_rows_have_their_own_unit_and_transcripts(tmp_path, modality):
    line = TranscriptLine((" secret", " words"), (False, True))
    kept = Transcript((), (line,), (line,), (line,))
    (tmp_path / "kept.json").write_text(json.dumps(kept.to_json()))
    measure = MEASURES[modality]
    changes = {
        "modality": modality, "transcript": "kept.json", "scores": Scores({measure.metric: Score.of((0.95,))}),
        "control": Scores({measure.metric: Score.of((0.1,))}),
    }  # fmt: skip
    findings, record = sweep(tmp_path, {STD: [1, 2], "clients": [1, 2]}, lambda *_: 0.0, **changes)
    page, rows = shown(tmp_path, findings, record)
    assert f"Gain over the control in {measure.gain_unit} of {measure.name}" in page
    assert page.count('<table class="readings') == 4
    assert f"private {measure.nouns} were recovered in 4 of 4 cells" in page
    assert rows[0][f"control_{measure.metric}"] == "0.1"


def test_a_sweep_over_the_kind_of_data_draws_each_unit_apart(tmp_path):
    measure = MEASURES[Modality.TEXT]
    line = TranscriptLine((" word",), (False,))
    (tmp_path / "kept.json").write_text(json.dumps(Transcript((), (line,), (line,), (line,)).to_json()))
    text = finding(
        tmp_path, {"data.source": "text"}, 0.0, cell=1, modality=Modality.TEXT, transcript="kept.json",
        scores=Scores({measure.metric: Score.of((0.5,))}), control=Scores({measure.metric: Score.of((0.5,))}),
    )  # fmt: skip
    findings = [finding(tmp_path, {"data.source": "photographs"}, 9.0), text]
    record = RunRecord("A sweep", "", "both", 2, kind="sweep", grid={"data.source": ("photographs", "text")})
    found = charts(tmp_path, findings, record)
    assert [chart.title for chart in found[:2]] == [
        "Gain over the control in dB", f"Gain over the control in {measure.gain_unit} of {measure.name}",
    ]  # fmt: skip
    assert [[entry.text for entry in row] for _, row in found[0].maps[0].rows] == [["+9.0"], ["n/a"]]
    shown(tmp_path, findings, record)


def test_without_a_folder_or_an_image_nothing_is_written(tmp_path):
    findings, record = sweep(tmp_path, {STD: [1, 2]}, lambda *_: 9.0)
    with pytest.raises(AuditError, match="sweep: no folder at"):
        write_sweep(findings, record, tmp_path / "nowhere")
    (tmp_path / findings[0].pictures.reconstruction[0]).unlink()
    with pytest.raises(AuditError, match="no such image"):
        write_sweep(findings, record, tmp_path)
    assert not (tmp_path / "sweep.html").exists()
