"""Redacted copies: nothing private is left in any byte, the figures are the same, and no command resumes them."""

import base64
import dataclasses
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from gradaudit.commands import cli
from gradaudit.comparison import merge, read_series, side_by_side
from gradaudit.execution import Results, read_folder
from gradaudit.execution.journal import Failure
from gradaudit.report import write
from gradaudit.report.redacted_values import KEPT, Redactor
from gradaudit.report.redaction import redact
from gradaudit.report.sweep_page import write_sweep
from gradaudit.studies import _running
from gradaudit.values.errors import AuditError
from gradaudit.values.finding import Finding, ImageFiles, RunRecord, Score, Scores
from gradaudit.values.measures import MEASURES
from gradaudit.values.records import content_name
from gradaudit.values.transcript import Transcript, TranscriptLine
from gradaudit.values.types import Modality

NAME, LABEL, SENTENCE, CELL, COLUMN = "jane-doe-1979", "melanoma", "admitted", "salary-73501", "hiv-status"
FOLDER = "/srv/clinic-seven"
YAML = f"""data:
  source: folder
  path: {FOLDER}/{NAME}
  label: {LABEL}
  categorical: [{COLUMN}]
  batch_size: 1
model: {{name: lenet, weights: {FOLDER}/net.safetensors}}
knowledge: [priors]
attacks: [{{name: dlg, set: {{seeds: 2}}}}]
"""
IDENTITY = {
    "data.source": "folder", "data.path": f"{FOLDER}/{NAME}", "data.label": LABEL, "data.categorical.0": COLUMN,
    "data.classes.0": 73501, "data.batch_size": 1, "model.weights": f"{FOLDER}/net.safetensors",
    "attacks.0 value": f"DLG(path='{FOLDER}/x')",
    "data sha256": "ab" * 32, "model sha256": "cd" * 32,
}  # fmt: skip


def png(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def record(**changes):
    values = {
        "title": f"Audit of {NAME}", "configuration": YAML, "source": f"3 images of the folder {NAME}", "planned": 1,
        "identity": IDENTITY, "attribution": f"by {NAME}", "version": "1",
    }  # fmt: skip
    return RunRecord(**values | changes)


def finding(folder, number=0, modality=Modality.PICTURES, **changes):
    """A finding with secrets in every field that can hold one."""
    metric, case = MEASURES[modality].metric, f"client0-attack0-batch{number}"
    paths = ImageFiles(*((f"images/{case}-{kind}.png",) for kind in ("truth", "reconstruction", "control")))
    for kind, path in enumerate((*paths.truth, *paths.reconstruction, *paths.control)):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(png(3 * number + kind))
    line = TranscriptLine((" patient", f" {SENTENCE}", CELL), (), (), (1.0, 73501.0, 3.0))
    if modality is not Modality.PICTURES:
        columns = (COLUMN, "b", "c") if modality is Modality.TABLE else ()
        (folder / "examples").mkdir(exist_ok=True)
        written = Transcript(columns, *3 * ((line,),)).to_json()
        (folder / f"examples/{case}.json").write_text(json.dumps(written))
        changes = {"pictures": ImageFiles(), "transcript": f"examples/{case}.json", **changes}
    values = {
        "attack": f"{FOLDER}/mine.py:ATTACK", "case": case, "client": "no defense", "seed": 0, "repeat": number,
        "scores": Scores({metric: Score.of((0.75,))}, {"lpips": f"no weights at {FOLDER}/lpips.pt"}),
        "control": Scores({metric: Score.of((0.25,))}), "objective": 1e-5, "seconds": 1.0, "verified": True,
        "needs": (), "knowledge": ("BATCH_SIZE",), "attack_value": f"Mine(path='{FOLDER}/prior.pt')",
        "client_value": f"Client('lenet', weights='{FOLDER}/net.pt')", "labels": (83,), "guessed_labels": (83,),
        "label_accuracy": 1.0, "gallery": 3, "modality": modality, "pictures": paths, "picture_names": (f"{NAME}.png",),
        "curves": (((0, 1.0), (10, 0.1)),), "notes": (f"The label {LABEL} repeats.",),
        "warnings": ("1 public image is private too (the same or nearly the same example), and so on.", f"See {CELL}."),
        "trial": f"{number:016x}", "batch": f"{number + 7:016x}", "update_sha256": f"{number + 9:064x}",
    }  # fmt: skip
    return Finding(**values | changes)


def kept(folder, findings, run=None, failures=()):
    """A run on disk with its page."""
    folder.mkdir(exist_ok=True)
    results = Results(folder, run or record())
    for one in findings:
        results.append(one)
    for failure in failures:
        results.fail(failure)
    results.export()
    found, whole = read_folder(folder)
    (write_sweep if whole.kind == "sweep" else write)(found, whole, folder)
    return folder


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    findings = [finding(folder, 0), finding(folder, 1, cannot_judge=f"could not read {CELL}"), finding(folder, 2)]
    failure = Failure("f" * 16, f"dlg · {NAME}", f"ValueError: {LABEL}", f"Traceback: {CELL}")
    return kept(folder, findings, failures=[failure])


def everything(folder):
    """The bytes of all files with their names, as they are and in lower case."""
    parts = [
        str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    ]
    whole = b"\n".join(parts)
    return whole + whole.lower()


SECRETS = [NAME, LABEL, SENTENCE, CELL, COLUMN, FOLDER, "clinic-seven", "73501", "net.pt"]


def left(folder):
    """The secrets that a folder holds: words, labels, and images as bytes or in base64."""
    content = everything(folder)
    found = [word for word in SECRETS if word.encode() in content]
    found += [
        f"image {seed}"
        for seed in range(9)
        if png(seed)[30:] in content or base64.b64encode(png(seed))[60:120] in content
    ]
    found += [
        sign
        for sign in ("\\u0089PNG", "data:image/png", '"labels": [83]', "label 83", "ab" * 32)
        if sign.encode() in content
    ]
    return found


@pytest.mark.parametrize("modality", [Modality.PICTURES, Modality.TEXT, Modality.TABLE])
def test_no_byte_of_a_copy_is_private(tmp_path, modality):
    folder = tmp_path / "run"
    folder.mkdir()
    failure = Failure("f" * 16, f"dlg · {NAME}", f"ValueError: {LABEL}", f"Traceback: {CELL}")
    findings = [finding(folder, 0, modality), finding(folder, 1, modality, cannot_judge=f"could not read {CELL}")]
    kept(folder, findings, failures=[failure])
    assert {NAME, LABEL, CELL, FOLDER} <= set(left(folder))
    assert (modality is Modality.PICTURES) == ("data:image/png" in left(folder))
    page = redact(folder)
    assert page == tmp_path / "run-redacted" / "report.html"
    assert left(page.parent) == []
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "report.html",
        "results.jsonl",
        "run.json",
        "trials.jsonl",
    ]


def test_the_figures_of_a_copy_are_those_of_the_run(run):
    page = redact(run)
    before, (after, record_) = read_folder(run)[0], read_folder(page.parent)
    assert [one.scores.named for one in after] == [one.scores.named for one in before]
    for name in ("gain", "gallery", "curves", "label_accuracy", "seconds", "objective", "examples", "repeat"):
        assert [getattr(one, name) for one in after] == [getattr(one, name) for one in before], name
    assert record_.redacted
    assert len(record_.failures) == 1
    assert after[0].attack == "mine.py:ATTACK"
    assert after[0].warnings == ("2 warnings of the original are left out of this redacted copy.",)
    text = page.read_text(encoding="utf-8")
    assert '<p class="band redacted" role="note"><strong>Redacted copy.</strong>' in text
    assert "Protect it as you protect them" not in text
    assert "batch_size: 1" in text
    assert "path: redacted" in text


def test_what_this_package_says_of_public_examples_stays(tmp_path):
    told = "2 public images are private too (the same or nearly the same example), "
    told += "and the adversary did not get to see them."
    one = finding(tmp_path, warnings=(told,), cannot_judge="a guess without the update already reaches 61 dB: secret.")
    copy = Redactor(record(), [one]).finding(one)
    assert copy.warnings == (told,)
    assert copy.cannot_judge == "a guess without the update already reaches 61 dB."


def test_every_field_of_a_finding_is_copied_converted_or_left_out():
    """A new field is left out until somebody decides: put it into `KEPT`, or into one of these."""
    converted = {
        "attack", "client", "case", "scores", "control", "attack_value", "client_value", "unlabelled", "notes",
        "warnings", "cannot_judge", "trial", "batch", "update_sha256", "grid", "protection",
    }  # fmt: skip
    left_out = {"labels", "guessed_labels", "pictures", "transcript", "picture_names"}
    assert {entry.name for entry in dataclasses.fields(Finding)} == KEPT | converted | left_out


def test_copies_are_compared_in_pairs_and_hashes_confirm_no_guess(run, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    kept(other, [finding(other, 0, scores=Scores({"psnr": Score.of((0.5,))})), finding(other, 2)])
    copies = [redact(folder).parent for folder in (run, other)]
    series, quantities, notes = read_series(copies)
    compared = side_by_side(series, quantities, notes, metrics=["gain"])
    (paired,) = compared.differences.values()
    assert paired.interval is not None
    assert paired.interval.n == 2
    first = read_folder(copies[0])[0][0]
    assert first.batch not in {one.batch for one in read_folder(run)[0]}
    assert len(first.update_sha256) == 64
    assert read_series([run, copies[0]])  # an original and a copy are read together, without pairs


def test_without_a_fingerprint_of_the_data_the_key_is_random():
    hashes = {Redactor(record(identity={}), []).keyed("a") for _ in range(3)}
    assert len(hashes) == 3


def test_a_sweep_keeps_its_cells_apart(tmp_path):
    grid = {"data.path": (f"{FOLDER}/a", f"{FOLDER}/b"), "seed": (0, 1)}
    folder = tmp_path / "run"
    folder.mkdir()
    places = [(path, seed) for path in grid["data.path"] for seed in grid["seed"]]
    findings = [
        finding(folder, i, seed=seed, case=f"{i:016x}-attack0-batch0", grid={"data.path": path, "seed": seed})
        for i, (path, seed) in enumerate(places)
    ]
    run = record(
        kind="sweep",
        grid=grid,
        planned=4,
        configuration=f"{YAML}grid:\n  data.path: [{FOLDER}/a, {FOLDER}/b]\n  seed: [0, 1]\n",
    )
    kept(folder, findings, run)
    assert {NAME, FOLDER, "data:image/png"} <= set(left(folder))
    page = redact(folder)
    assert page.name == "sweep.html"
    assert left(page.parent) == []
    text = page.read_text(encoding="utf-8")
    assert text.count('<article class="cell"') == 4
    assert "Redacted copy." in text
    assert "redacted 1" in text
    assert "redacted 2" in text
    assert (page.parent / "sweep.csv").read_text().count("\n") == 5


def study(folder):
    """A study with one measurement and one failure, which holds secrets."""
    folder.mkdir()
    (folder / "bench.json").write_text(json.dumps({"--data": f"{NAME}.npz, sha256 0123456789abcdef"}))
    (folder / "pictures").mkdir()
    (folder / "pictures/a.png").write_bytes(png(0))
    line = {
        "study": "sok-table-1",
        "cell": "c" * 16,
        "name": "DLG",
        "seed": 0,
        "values": {"psnr": 20.5},
        "data": "d" * 16,
        "more": CELL,
    }
    lines = [
        {"trial": content_name("c" * 16, 0, "d" * 16), "result": line},
        {"trial": "u" * 16, "title": NAME, "error": LABEL},
    ]
    (folder / "trials.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (folder / "study.md").write_text("# A study\n\n20.5\n")
    (folder / "study.html").write_text(f"<img src='data:image/png;base64,{base64.b64encode(png(0)).decode()}'>")
    return folder


def test_a_study_keeps_its_measurements(tmp_path):
    folder = study(tmp_path / "run")
    path = redact(folder)
    assert left(folder)
    assert left(path.parent) == []
    assert path.name == "study.md"
    assert path.read_text().startswith("**Redacted copy.**")
    (series,) = read_series([path.parent])[0]
    assert series.all_of("psnr") == [20.5]
    with pytest.raises(AuditError, match="is a redacted copy of a study, which cannot be resumed"):
        _running._claim(path.parent, SimpleNamespace(identity=dict))


def test_a_copy_is_read_again_and_neither_resumed_nor_merged(run, tmp_path):
    copy = redact(run).parent
    before = (copy / "report.html").read_bytes()
    assert CliRunner().invoke(cli.app, ["report", str(copy)]).exit_code == 0
    assert (copy / "report.html").read_bytes() == before
    with pytest.raises(AuditError, match="is a redacted copy of a run, which cannot be resumed"):
        Results(copy, record())
    with pytest.raises(AuditError, match="is a redacted copy of a run, which cannot be merged"):
        merge([run, copy], tmp_path / "union")
    with pytest.raises(AuditError, match="is a redacted copy already"):
        redact(copy)


def test_nothing_but_a_redacted_copy_is_overwritten(run, tmp_path):
    before = everything(run)
    for out in (run, run / "copy", tmp_path):
        with pytest.raises(AuditError, match="is the run itself, or one is inside the other"):
            redact(run, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    other = kept(tmp_path / "other", [])
    for out in ("mine", "other", "mine/letter.txt"):
        with pytest.raises(AuditError, match=r"is no redacted copy|is a file"):
            redact(run, tmp_path / out)
    assert not (other / "trials.jsonl").exists()
    copy = redact(run, tmp_path / "new").parent
    (copy / "report.html").write_text("old")
    assert redact(run, copy).read_text(encoding="utf-8") != "old"
    (copy / "letter.txt").write_text("dear")
    with pytest.raises(AuditError, match=r"holds letter\.txt, which no redacted copy has"):
        redact(run, copy)
    assert everything(run) == before


def test_the_command_writes_the_copy_and_names_it(run, tmp_path):
    done = CliRunner().invoke(cli.app, ["report", str(run), "--redact", "--out", str(tmp_path / "copy")])
    assert done.exit_code == 0
    assert f"Report: {tmp_path / 'copy' / 'report.html'}" in done.output.replace("\n", "")
    failed = CliRunner().invoke(cli.app, ["report", str(run), "--out", str(tmp_path / "copy")])
    assert "Add --redact" in str(failed.exception)
