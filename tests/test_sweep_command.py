"""The command `sweep`: a grid of audits, resumed, grown, split and refused."""

import csv
import json
import re

import pytest
import yaml

from gradaudit.report import sweep_page
from test_cli import numbers

SWEEP = {
    "data": {"source": "photographs", "size": 16, "batch_size": 2},
    "model": {"name": "mlp", "num_classes": 10},
    "knowledge": ["priors", "LABELS"],
    "defenses": [{"name": "gaussian-noise", "std": 0.01}],
    "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": 3}}],
    "device": "cpu",
    "grid": {"defenses.0.std": [0.001, 0.1], "attacks.0.name": ["inverting-gradients", "dlg"]},
}
ONE = ("--executor", "serial")


@pytest.fixture
def sweep_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**changes):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump({**SWEEP, **changes}, sort_keys=False))
        return path

    return write


def sweep(gradaudit, *arguments):
    code, out, err = gradaudit("sweep", *arguments, *ONE, "--json")
    return code, json.loads(out) if out else out, err


def journal(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run/trials.jsonl").read_text().splitlines()]


def test_every_cell_is_audited_once(gradaudit, sweep_file, tmp_path):
    code, document, err = sweep(gradaudit, sweep_file(repeats=2), "--out", "run")
    assert code == 0, err
    found = document["findings"]
    cells = [(one["grid"]["defenses.0.std"], one["grid"]["attacks.0.name"], one["repeat"]) for one in found]
    assert len(set(cells)) == 8
    assert cells == sorted(cells, key=lambda cell: (cell[0], cell[1] == "dlg", cell[2]))
    for one in found:
        assert one["attack"] == one["grid"]["attacks.0.name"]
        assert one["client"] == f"gaussian-noise std={one['grid']['defenses.0.std']}"
        assert "steps=3" in one["attack_value"]
    assert len({one["batch"] for one in found}) == 2  # every cell attacks the same batches
    assert len({line["trial"] for line in journal(tmp_path)}) == 8
    with (tmp_path / "run/sweep.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 8
    page = (tmp_path / "run/sweep.html").read_text()
    assert page.count('id="cell-') == 4
    before = (tmp_path / "run/trials.jsonl").read_bytes()
    assert gradaudit("report", "run")[0] == 0
    assert (tmp_path / "run/sweep.html").read_text() == page
    assert numbers(sweep(gradaudit, sweep_file(repeats=2), "--out", "run")[1]) == numbers(document)
    assert (tmp_path / "run/trials.jsonl").read_bytes() == before


def test_a_cell_is_the_audit_of_its_file(gradaudit, sweep_file, tmp_path):
    _, document, _ = sweep(gradaudit, sweep_file(), "--out", "run")
    plain = {key: value for key, value in SWEEP.items() if key != "grid"}
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(plain))
    _, out, _ = gradaudit("audit", "audit.yaml", "--out", "one", "--json", "--set", "defenses.0.std=0.1", "--set",
                          "attacks.0.name=dlg")  # fmt: skip
    (alone,) = json.loads(out)["findings"]
    (cell,) = [one for one in document["findings"] if one["grid"] == {"defenses.0.std": 0.1, "attacks.0.name": "dlg"}]
    for one in (alone, cell):
        for name in ("seconds", "grid", "case", "pictures", "trial"):
            one.pop(name)
    assert alone == cell


def test_a_grid_that_grows_computes_its_new_cells_alone(gradaudit, sweep_file, tmp_path):
    _, small, _ = sweep(gradaudit, sweep_file(), "--out", "run")
    grid = {"attacks.0.name": ["dlg", "inverting-gradients"], "defenses.0.std": [1.0, 0.1, 0.001]}
    code, large, err = sweep(gradaudit, sweep_file(grid=grid), "--out", "run")
    assert code == 0
    assert "4 of 6 trials are already done" in err
    assert len(journal(tmp_path)) == 6
    old, new = ({one["trial"]: one["scores"] for one in found["findings"]} for found in (small, large))
    assert old.items() <= new.items()
    code, one, err = sweep(
        gradaudit, sweep_file(grid={key: values[:1] for key, values in grid.items()}), "--out", "run"
    )
    assert code == 0
    assert "5 results in run are of other cells; they are kept and not shown" in err
    assert len(one["findings"]) == 1


def test_another_file_in_the_folder_is_refused(gradaudit, sweep_file, tmp_path):
    sweep(gradaudit, sweep_file(), "--out", "run")
    before = (tmp_path / "run/trials.jsonl").read_bytes()
    code, _, err = sweep(gradaudit, sweep_file(seed=7), "--out", "run")
    assert code == 2
    assert "holds results of another configuration: seed was None, is 7" in err
    assert (tmp_path / "run/trials.jsonl").read_bytes() == before


def test_two_parts_are_the_whole(gradaudit, sweep_file, tmp_path):
    _, whole, _ = sweep(gradaudit, sweep_file(), "--out", "whole")
    assert "2 of 4 trials" in gradaudit("sweep", sweep_file(), "--out", "run", "--shard", "1/2", *ONE)[1]
    assert "Unfinished" in (tmp_path / "run/sweep.html").read_text()
    _, both, _ = sweep(gradaudit, sweep_file(), "--out", "run", "--shard", "2/2")
    assert numbers(both) == numbers(whole)


def test_a_cell_that_fails_stops_no_other(gradaudit, sweep_file, tmp_path):
    (tmp_path / "bad.py").write_text(
        "import gradaudit as ga\n"
        "class Bad:\n"
        "    name, needs = 'bad', ga.Knowledge.BATCH_SIZE\n"
        "    def __call__(self, seen, *, seed=0, watch=None):\n"
        "        raise KeyError('no')\n"
        "ATTACK = Bad()\n"
    )
    path = sweep_file(grid={"attacks.0": ["bad.py:ATTACK", SWEEP["attacks"][0]]})
    code, document, err = sweep(gradaudit, path, "--out", "run")
    assert code == 2
    assert len(document["findings"]) == 1
    assert len(document["failures"]) == 1
    assert err.splitlines()[-1].startswith("error: 1 of 2 trials failed: bad.py:ATTACK · attacks.0=bad.py:ATTACK")
    assert "Traceback" not in err
    assert "KeyError" in (tmp_path / "run/sweep.html").read_text()
    code, out, err = gradaudit("sweep", path, "--out", "b", *ONE, "--stop-on-error")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: bad.py:ATTACK: stopped with KeyError")


def test_a_dry_run_counts(gradaudit, sweep_file, tmp_path):
    code, out, _ = gradaudit("sweep", sweep_file(repeats=3), "--dry-run")
    assert (code, out) == (0, "4 cells, 12 trials.\n")
    assert not (tmp_path / "runs").exists()


REFUSED = {
    "an empty grid": ({"grid": {}}, "grid"),
    "a key that no attack has": ({"grid": {"attacks.0.stages.0.stepz": [1]}}, r"attacks.0.*has no field stepz"),
    "an unknown attack": ({"grid": {"attacks.0.name": ["dlgg"]}}, "cell 1 .*unknown attack dlgg. Did you mean dlg"),
    "too many cells": ({"grid": {"seed": list(range(101)), "repeats": list(range(1, 101))}}, "--yes"),
    "no attack": ({"grid": {"attacks": [[]]}}, "attacks is an empty list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line(gradaudit, sweep_file, tmp_path, name):
    changes, message = REFUSED[name]
    code, out, err = gradaudit("sweep", sweep_file(**changes), "--out", "run")
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert re.search(message, err), err
    assert not (tmp_path / "run").exists()


def test_ctrl_c_keeps_what_is_done(gradaudit, sweep_file, tmp_path, monkeypatch):
    from gradaudit.execution import case_jobs

    real, calls = case_jobs.audit_together, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(case_jobs, "audit_together", stopped)
    code, out, err = gradaudit("sweep", sweep_file(), "--out", "run", *ONE)
    assert (code, out) == (130, "")
    assert "interrupted: 2 of 4 trials are kept in run. Run the same command again to resume." in err
    assert "Unfinished" in (tmp_path / "run" / sweep_page.PAGE).read_text()
