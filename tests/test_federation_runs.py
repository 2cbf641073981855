"""`federation:` in audits and sweeps: trained once, resumed, on every executor, merged, redacted and refused."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

FILE = {
    "data": {"source": "npz", "path": "data.npz", "batch_size": 2},
    "model": {"name": "mlp"},
    "training": {"kind": "fedavg", "learning_rate": 0.5, "minibatch_size": 4},
    "knowledge": ["priors", "LABELS", "LOCAL_TRAINING"],
    "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": 1}}],
    "device": "cpu",
    "federation": {"clients": 2, "rounds": 4, "batch_size": 8, "examples": 60, "test_examples": 40, "seeds": 2},
}
NOISE = [{"name": "gaussian-noise", "std": 0.001}]
GRID = {"defenses": [[], NOISE], "attacks.0.name": ["inverting-gradients", "dlg"]}


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    labels = np.arange(100) % 4
    images = generator.integers(0, 80, (100, 8, 8, 1), dtype=np.uint8)
    for place in range(4):
        images[labels == place, 2 * place : 2 * place + 2] += 150
    np.savez("data.npz", images=images, labels=labels)

    def written(**changes):
        whole = {key: value for key, value in {**FILE, **changes}.items() if value is not None}
        path = tmp_path / "file.yaml"
        path.write_text(yaml.safe_dump(whole, sort_keys=False))
        return path

    return written


def ran(gradaudit, command, file, *arguments, executor="serial", out="run"):
    code, text, err = gradaudit(command, file, "--out", out, "--executor", executor, "--json", *arguments)
    return code, json.loads(text) if text else {}, err


def figures(document):
    return [(one["client"], one["number"], one["scores"]) for one in document["federation"]]


def lines(folder):
    return (folder / "federation.jsonl").read_text().splitlines()


def test_a_sweep_trains_each_setting_once_and_resumes(gradaudit, write, tmp_path):
    """Cells that differ in the attack share a training; equal seeds are equal in a pool; a lost line comes back."""
    file = write(grid=GRID)
    code, document, err = ran(gradaudit, "sweep", file)
    assert code == 0, err
    assert len(document["findings"]) == 4
    found = document["federation"]
    assert [(one["defended"], one["number"]) for one in found] == [(False, 0), (False, 1), (True, 0), (True, 1)]
    assert all(one["scores"][-1][1] > 0.7 for one in found)
    assert found[0]["scores"] != found[1]["scores"]
    before = lines(tmp_path / "run")
    path = tmp_path / "run/federation.jsonl"
    path.write_text("\n".join([*before[:2], before[2][:40]]))  # killed while it wrote the third of four lines
    trials = (tmp_path / "run/trials.jsonl").read_text()
    code, again, err = ran(gradaudit, "sweep", file, executor="pool")
    assert code == 0, err
    assert figures(again) == figures(document)
    assert lines(tmp_path / "run")[:2] == before[:2]
    assert len(lines(tmp_path / "run")) == 4
    assert (tmp_path / "run/trials.jsonl").read_text() == trials
    page = (tmp_path / "run/sweep.html").read_text()
    assert "<h2>What it costs</h2>" in page
    assert page.count('id="setting-') == 2
    assert "Unfinished" not in page


def test_a_federation_is_added_to_a_finished_sweep(gradaudit, write, tmp_path):
    """It changes nothing that leaks, so the attacks do not run again; without it nothing on the page mentions one."""
    grid = {"defenses": [NOISE]}
    code, document, err = ran(gradaudit, "sweep", write(grid=grid, federation=None))
    assert code == 0, err
    assert "federation" not in document
    assert "What it costs" not in (tmp_path / "run/sweep.html").read_text()
    trials = (tmp_path / "run/trials.jsonl").read_text()
    code, document, err = ran(gradaudit, "sweep", write(grid=grid), "--set", "federation.seeds=1")
    assert code == 0, err
    assert (tmp_path / "run/trials.jsonl").read_text() == trials
    assert len(document["federation"]) == 1
    code, _, err = gradaudit("report", "run", "--redact")
    assert code == 0, err
    assert "<h2>What it costs</h2>" in (tmp_path / "run-redacted/sweep.html").read_text()
    redacted = json.loads(lines(tmp_path / "run-redacted")[0])
    assert redacted["result"]["scores"] == document["federation"][0]["scores"]
    assert redacted["trial"] != document["federation"][0]["trial"]


def test_an_audit_says_the_accuracy_beside_the_leakage(gradaudit, write, tmp_path):
    """With defenses it also trains without them; two parts are merged to the whole."""
    file = write(defenses=NOISE)
    for part in ("1/2", "2/2"):
        ran(gradaudit, "audit", file, "--shard", part, out=f"part{part[0]}")
    code, _, err = gradaudit("merge", "part1", "part2", "--out", "run")
    assert code == 0, err
    code, document, err = ran(gradaudit, "audit", file)
    assert code == 0, err
    assert "[1/" not in err  # nothing was left to compute
    found = {(one["client"], one["number"]) for one in document["federation"]}
    assert found == {(client, number) for client in ("gaussian-noise std=0.001", "no defense") for number in (0, 1)}
    page = (tmp_path / "run/report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert page.count("Accuracy in the federation: ") >= 3  # both clients, and the remedy
    assert "The defense changes the accuracy by" in page


def test_ctrl_c_keeps_the_trainings_that_are_done(gradaudit, write, tmp_path, monkeypatch):
    from gradaudit.execution import federation_jobs

    real, begun = federation_jobs.train, []

    def stopped(plan, training, watch):
        begun.append(training)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(plan, training, watch)

    monkeypatch.setattr(federation_jobs, "train", stopped)
    code, _, err = ran(gradaudit, "sweep", write(grid={"defenses": [NOISE]}))
    assert code == 130
    assert "1 of 1 trials are kept" in err
    assert len(lines(tmp_path / "run")) == 1
    page = (tmp_path / "run/sweep.html").read_text()
    assert "Unfinished federation: 1 of 2 trainings." in page
    assert "trainings are missing" in page


def test_a_training_that_fails_is_said(gradaudit, write, monkeypatch):
    from gradaudit.execution import federation_jobs

    monkeypatch.setattr(federation_jobs, "train", lambda *_: 1 / 0)
    code, document, err = ran(gradaudit, "sweep", write(grid={"defenses": [NOISE]}))
    assert code == 2
    assert "2 of 3 trials failed: federation · defenses=gaussian-noise std=0.001 · seed 1: ZeroDivisionError" in err
    assert document["federation"] == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"federation": {"clients": 0}}, "federation.clients: should be greater than or equal to 1. Found 0."),
        ({"federation": {"client": 2}}, "federation.client: unknown key. Did you mean clients"),
        ({"federation": {}}, "federation: needs 3000 examples, 2000 to train on and 1000 held out. The data has 100"),
        ({"federation": {**FILE["federation"], "server_rate": {"nois": 1.0}}}, "federation.server_rate.nois: unknown"),
        ({"federation": {**FILE["federation"], "server_rate": -1}}, "federation.server_rate"),
        ({"training": {"loss": "mean-squared-error"}}, "no accuracy is defined under training.loss: MeanSquaredError"),
        ({"data": {"source": "photographs", "size": 16}}, "federation: photographs has no labels"),
        ({"grid": {"federation.rounds": [1, 2]}}, "grid: federation is the same for all cells"),
    ],
)
def test_bad_input_is_one_line_before_anything_runs(gradaudit, write, tmp_path, changes, words):
    changes = {"grid": {"seed": [0, 1]}, **changes}
    code, _, err = gradaudit("sweep", write(**changes), "--out", "run")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_flower_is_asked_for_before_anything_runs(gradaudit, write, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    file = write(federation={**FILE["federation"], "engine": "flower"})
    code, _, err = gradaudit("audit", file, "--out", "run")
    assert code == 2
    assert "federation.engine: flower needs `pip install 'gradaudit[flower]' 'flwr[simulation]'`" in err
    assert not (tmp_path / "run").exists()


def test_the_example_of_the_documentation_is_valid(gradaudit, tmp_path, shared_data):
    text = (Path(__file__).resolve().parents[1] / "docs/utility.md").read_text(encoding="utf-8")
    path = tmp_path / "utility.yaml"
    path.write_text(re.search(r"```\n(data:.*?)```", text, re.S).group(1))
    real = [f"data.path={shared_data / 'fashion_mnist_test.npz'}", "federation.examples=600"]
    code, out, err = gradaudit("sweep", path, "--dry-run", *(part for one in real for part in ("--set", one)))
    assert code == 2
    assert "needs 1600 examples, 600 to train on and 1000 held out. The data has 1000" in err
    real.append("federation.test_examples=300")
    code, out, err = gradaudit("sweep", path, "--dry-run", *(part for one in real for part in ("--set", one)))
    assert code == 0, err
    assert out.startswith("4 cells, ")
