"""The committed tables of studies are what their measurements print."""

import json
import shutil

import pytest
from benchmarks import printed

from gradaudit.studies import STUDIES
from gradaudit.values.records import content_name

PAGES = dict(printed.pages())
FOLDERS = sorted(path.parent for path in printed.STORED.glob("*/run.json"))


def test_every_page_is_what_is_printed():
    """`python -m benchmarks.printed` writes them again."""
    for path, text in PAGES.items():
        assert path.read_text(encoding="utf-8") == text, path
    assert set(printed.STORED.glob("**/*.md")) == set(PAGES)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_says_what_it_measured(folder):
    text = PAGES[folder / "study.md"]
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert f"Measured on {run['date']} on {run['machine']}" in text
    assert STUDIES[run["study"]].cells[run["scale"]]


def test_another_number_is_seen_and_another_cell_is_said(tmp_path):
    folder = tmp_path / FOLDERS[0].name
    shutil.copytree(FOLDERS[0], folder)
    journal = folder / "trials.jsonl"
    first, *rest = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    line = json.loads(first)
    line["result"]["values"]["psnr"] += 5
    journal.write_text(json.dumps(line) + "\n" + "".join(rest), encoding="utf-8")
    text, _ = printed.printed(folder)
    assert text != PAGES[FOLDERS[0] / "study.md"]
    result = line["result"]
    result["cell"] = "0" * 16
    line["trial"] = content_name(result["cell"], result["seed"], result["data"])
    journal.write_text(json.dumps(line) + "\n" + "".join(rest), encoding="utf-8")
    text, _ = printed.printed(folder)
    assert f"The definition of these cells has changed since: {result['name']}." in text


def test_a_folder_is_kept_with_its_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(printed, "STORED", tmp_path / "kept")
    source = tmp_path / "some-study"
    source.mkdir()
    for name in printed.FILES:
        shutil.copy(FOLDERS[0] / name, source / name)
    study = json.loads((FOLDERS[0] / "run.json").read_text(encoding="utf-8"))
    kept = printed.keep(source, study["study"], study["scale"])
    again = dict(printed.pages())
    assert set(again) == {kept / "study.md", tmp_path / "kept" / "README.md"}
    assert "| [some-study](some-study/study.md) |" in again[tmp_path / "kept" / "README.md"]
