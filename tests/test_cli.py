"""The command, as a user types it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

CONFIG = {
    "data": {"source": "photographs", "size": 16, "batch_size": 2},
    "model": {"name": "mlp", "num_classes": 10},
    "knowledge": ["priors", "LABELS"],
    "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": 20}}],
    "repeats": 2,
}


@pytest.fixture
def audit_file(tmp_path):
    """Write CONFIG with changes and give its path."""

    def write(**changes):
        path = tmp_path / "audit.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, **changes}))
        return path

    return write


def numbers(document):
    """Findings without what differs between two runs."""
    for finding in document["findings"]:
        finding.pop("seconds")
    return document


def test_an_audit_from_end_to_end(gradaudit, audit_file, tmp_path):
    code, out, err = gradaudit("audit", audit_file(), "--out", "run", "--json")
    assert code == 0, err
    document = json.loads(out)
    lines = [json.loads(line) for line in (tmp_path / "run/results.jsonl").read_text().splitlines()]
    assert document == {"findings": lines, "failures": []}
    assert len(lines) == 2
    journal = [json.loads(line) for line in (tmp_path / "run/trials.jsonl").read_text().splitlines()]
    assert [(line["trial"], line["result"]) for line in journal] == [(line["trial"], line) for line in lines]
    assert len({line["trial"] for line in lines} | {line["batch"] for line in lines}) == 4
    for repeat, finding in enumerate(lines):
        assert finding["attack"] == "inverting-gradients"
        assert (finding["seed"], finding["repeat"]) == (0, repeat)
        assert len(finding["scores"]["psnr"]["per_example"]) == 2
        assert finding["scores"]["psnr"]["worst_leak"] == max(finding["scores"]["psnr"]["per_example"])
        assert (
            set(finding["scores"]["ssim"]) == {"mean", "worst_leak", "per_example"} == set(finding["control"]["psnr"])
        )
        assert finding["scores"]["lpips"] is None
        assert finding["psnr_gain"] == pytest.approx(
            finding["scores"]["psnr"]["mean"] - finding["control"]["psnr"]["mean"]
        )
        assert finding["label_accuracy"] == 1.0
        assert finding["labels_granted"]
        assert finding["verified"] is False
        assert finding["needs"] == ["BATCH_SIZE", "LABELS"] == finding["knowledge"]
        assert "steps=20" in finding["attack_value"]
        assert finding["client_value"].startswith("Client(training=LocalTraining(")
        for kind in ("truth", "reconstruction", "control"):
            for picture in finding["pictures"][kind]:
                with Image.open(tmp_path / "run" / picture) as image:
                    assert image.size == (16, 16)
    assert "<html" in (tmp_path / "run/report.html").read_text()


def test_equal_seeds_give_equal_numbers(gradaudit, audit_file):
    documents = [json.loads(gradaudit("audit", audit_file(), "--out", f"run{i}", "--json")[1]) for i in range(2)]
    assert numbers(documents[0]) == numbers(documents[1])
    other = json.loads(gradaudit("audit", audit_file(seed=1), "--out", "run2", "--json")[1])
    assert numbers(other) != documents[0]


def test_repeats_draw_other_pictures(gradaudit, audit_file):
    findings = json.loads(gradaudit("audit", audit_file(repeats=3), "--out", "run", "--json")[1])["findings"]
    names = [name for finding in findings for name in finding["picture_names"]]
    assert len(set(names)) == 6


def test_set_reaches_the_file_and_the_attack(gradaudit, audit_file):
    code, out, _ = gradaudit(
        "audit", audit_file(), "--out", "run", "--json", "--set", "data.batch_size=1", "--set", "repeats=1",
        "--set", "attacks.0.stages.0.steps=3",
    )  # fmt: skip
    (finding,) = json.loads(out)["findings"]
    assert code == 0
    assert len(finding["labels"]) == 1
    assert "steps=3," in finding["attack_value"]


def test_a_run_goes_on_where_it_stopped(gradaudit, audit_file, tmp_path):
    path = audit_file()
    whole = json.loads(gradaudit("audit", path, "--out", "run", "--json")[1])
    results = tmp_path / "run/trials.jsonl"
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(lines[0] + lines[1][:57])  # the second line is cut short
    code, out, err = gradaudit("audit", path, "--out", "run", "--json")
    assert code == 0
    assert "1 of 2 cases are already done" in err
    assert numbers(json.loads(out)) == numbers(whole)
    assert len(results.read_text().splitlines()) == 2
    started = time.perf_counter()
    assert gradaudit("audit", path, "--out", "run")[0] == 0  # nothing left to do
    assert time.perf_counter() - started < 5


def test_a_last_line_without_its_end_is_computed_again(gradaudit, audit_file, tmp_path):
    path = audit_file()
    gradaudit("audit", path, "--out", "run")
    results = tmp_path / "run/trials.jsonl"
    results.write_bytes(results.read_bytes().rstrip(b"\n"))
    assert "1 of 2 cases" in gradaudit("audit", path, "--out", "run")[2]


def test_a_broken_line_in_the_middle_is_skipped_and_its_case_computed_again(gradaudit, audit_file, tmp_path):
    path = audit_file()
    whole = json.loads(gradaudit("audit", path, "--out", "run", "--json")[1])
    results = tmp_path / "run/trials.jsonl"
    _, second = results.read_text().splitlines()
    results.write_text(f"{{broken\n{second}\n")
    code, out, err = gradaudit("audit", path, "--out", "run", "--json")
    assert code == 0
    assert "trials.jsonl, line 1: is not a trial" in err
    assert numbers(json.loads(out)) == numbers(whole)


def test_another_configuration_is_refused_with_the_difference(gradaudit, audit_file, tmp_path):
    gradaudit("audit", audit_file(), "--out", "run")
    before = (tmp_path / "run/trials.jsonl").read_bytes()
    code, _, err = gradaudit("audit", audit_file(), "--out", "run", "--set", "seed=7")
    assert code == 2
    assert "holds results of another configuration: seed was 0, is 7" in err
    assert (tmp_path / "run/trials.jsonl").read_bytes() == before


def test_report_renders_again(gradaudit, audit_file, tmp_path):
    gradaudit("audit", audit_file(), "--out", "run")
    page = tmp_path / "run/report.html"
    before = page.read_text()
    page.unlink()
    assert gradaudit("report", "run")[0] == 0
    assert page.read_text() == before
    code, _, err = gradaudit("report", "nowhere")
    assert code == 2
    assert "contains no run.json" in err


def test_an_npz_with_labels_and_own_files(gradaudit, audit_file, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=rng.integers(0, 256, (6, 12, 12), dtype=np.uint8), labels=np.arange(6) % 3)
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from torch import nn\n"
        "from gradaudit.attacks import DLG\n"
        "ATTACK = replace(DLG, name='mine', stages=tuple(replace(s, steps=2) for s in DLG.stages))\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(144, 3))\n"
    )
    path = audit_file(
        data={"source": "npz", "path": "x.npz", "batch_size": 2},
        model={"factory": "mine.py:make"},
        knowledge=["basic"],
        attacks=["mine.py:ATTACK"],
        repeats=1,
    )
    code, out, err = gradaudit("audit", path, "--out", "run", "--json")
    assert code == 0, err
    (finding,) = json.loads(out)["findings"]
    assert finding["attack"] == "mine.py:ATTACK"
    assert not finding["labels_granted"]
    assert finding["control"]["psnr"]["mean"] > 0


def test_a_callable_of_the_users_own(gradaudit, audit_file, tmp_path):
    """The hatch: any observation -> reconstruction that says what it needs."""
    (tmp_path / "guess.py").write_text(
        "import torch\n"
        "from gradaudit import Knowledge, Reconstruction\n"
        "class Grey:\n"
        "    name, needs = 'grey', Knowledge.BATCH_SIZE\n"
        "    def __call__(self, seen, *, seed=0, watch=None):\n"
        "        shape = (seen.batch_size, *seen.input_shape)\n"
        "        return Reconstruction(torch.full(shape, 0.5), None, objective=0.0)\n"
        "    def __repr__(self): return 'Grey()'\n"
        "ATTACK = Grey()\n"
    )
    path = audit_file(attacks=["guess.py:ATTACK"], repeats=1)
    code, out, err = gradaudit("audit", path, "--out", "run", "--json")
    assert code == 0, err
    (finding,) = json.loads(out)["findings"]
    assert finding["label_accuracy"] is None
    code, _, err = gradaudit("audit", audit_file(attacks=["guess.py:ATTACK"], knowledge=[]), "--out", "other")
    assert code == 2
    assert "guess.py:ATTACK: needs BATCH_SIZE, but the adversary knows only nothing" in err


def test_mid_grey_is_the_control_where_no_picture_is_left(gradaudit, audit_file, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 12, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=pixels, labels=np.arange(2))
    data = {"source": "npz", "path": "x.npz", "batch_size": 2}
    code, out, _ = gradaudit("audit", audit_file(data=data, repeats=1), "--out", "run", "--json")
    (finding,) = json.loads(out)["findings"]
    assert code == 0
    assert 10 < finding["control"]["psnr"]["mean"] < 12
    assert any("mid grey" in note for note in finding["notes"])
    assert finding["scores"]["rank"] is None


def test_an_idle_defense_is_said(gradaudit, audit_file):
    path = audit_file(defenses=[{"name": "clip", "norm": 1e9}], repeats=1)
    (finding,) = json.loads(gradaudit("audit", path, "--out", "run", "--json")[1])["findings"]
    assert finding["no_op_defenses"] == ["clip norm=1000000000.0"]


BAD = {
    "no folder": ({"data": {"source": "folder", "path": "nowhere"}}, "nowhere"),
    "no npz": ({"data": {"source": "npz", "path": "none.npz"}}, "none.npz"),
    "unknown source": (
        {"data": {"source": "photograph"}},
        r"data.source: unknown source photograph. Did you mean photographs\?",
    ),
    "misspelt data key": (
        {"data": {"source": "photographs", "sise": 3}},
        r"data.sise: unknown key. Did you mean size\?",
    ),
    "bad size": ({"data": {"source": "photographs", "size": "big"}}, "data.size: should be a valid integer"),
    "batch too large": (
        {"data": {"source": "photographs", "batch_size": 1000}},
        r"data.batch_size: 1000 is more than the \d+ images",
    ),
    "batch of zero": (
        {"data": {"source": "photographs", "batch_size": 0}},
        "data.batch_size: must be a whole number of at least 1",
    ),
    "unknown model": ({"model": {"name": "rresnet18"}}, "resnet18"),
    "no factory": ({"model": {"factory": "nowhere.py:make"}}, "nowhere"),
    "no weights": ({"model": {"name": "mlp", "weights": "none.pt"}}, "none.pt"),
    "wrong mean": ({"model": {"name": "mlp", "mean": [0.5]}}, "model.mean: needs one value per channel, 3. Found 1"),
    "unknown attack": (
        {"attacks": ["inverting-gradient"]},
        r"unknown attack inverting-gradient. Did you mean inverting-gradients\?",
    ),
    "misspelt field": (
        {"attacks": [{"name": "dlg", "set": {"stages.0.step": 1}}]},
        r"has no field step. Did you mean steps\?",
    ),
    "no attack file": ({"attacks": ["none.py:ATTACK"]}, "attacks.0: no file"),
    "unknown defense": ({"defenses": [{"name": "noise"}]}, "defenses.0.name: unknown defense noise"),
    "misspelt defense key": (
        {"defenses": [{"name": "clip", "nrom": 1}]},
        r"defenses.0.nrom: unknown key. Did you mean norm\?",
    ),
    "missing defense key": ({"defenses": [{"name": "clip"}]}, "defenses.0.norm: is missing"),
    "defense out of range": ({"defenses": [{"name": "top-k", "keep": 2}]}, r"top-k: keep must be in \(0, 1\]"),
    "missing knowledge": (
        {"knowledge": ["priors"]},
        r"inverting-gradients: KnownLabels\(\) needs LABELS, but the adversary knows only BATCH_SIZE",
    ),
    "unknown knowledge": ({"knowledge": ["prior"]}, r"unknown fact prior. Did you mean priors\?"),
    "unknown key": ({"sed": 1}, r"sed: unknown key. Did you mean seed\?"),
    "unknown device": ({"device": "tpu9"}, "device: tpu9 cannot be used here"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(gradaudit, audit_file, tmp_path, name):
    changes, message = BAD[name]
    code, out, err = gradaudit("audit", audit_file(**changes), "--out", "run", "--json")
    assert code == 2
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last), last
    assert "Traceback" not in err
    results = tmp_path / "run/trials.jsonl"
    assert not results.exists() or not results.read_text()


@pytest.mark.parametrize(
    "make", ["empty folder", "broken picture", "labels out of range", "wrong output", "nan weights"]
)
def test_bad_files_are_one_line_and_exit_2(gradaudit, audit_file, tmp_path, make):
    folder, model = {"source": "folder", "path": "pictures"}, CONFIG["model"]
    (tmp_path / "pictures").mkdir()
    expected = "pictures"
    if make == "broken picture":
        (tmp_path / "pictures/one.png").write_bytes(b"no picture")
        expected = "one.png"
    elif make == "labels out of range":
        images = np.arange(3 * 12 * 12, dtype=np.uint8).reshape(3, 12, 12)
        np.savez(tmp_path / "x.npz", images=images, labels=np.array([0, 99, 99]))
        folder, expected = {"source": "npz", "path": "x.npz"}, "label 99, but the model has 10 classes"
    elif make != "empty folder":
        folder = {"source": "photographs", "size": 16}
        fill = "next(net.parameters()).data.fill_(float('nan'))" if make == "nan weights" else "pass"
        broken = "Conv2d(3, 2, 3)" if make == "wrong output" else "Sequential(nn.Flatten(), nn.Linear(768, 4))"
        (tmp_path / "net.py").write_text(
            f"from torch import nn\ndef make():\n    net = nn.{broken}\n    {fill}\n    return net\n"
        )
        model = {"factory": "net.py:make"}
        expected = "hold NaN or infinity" if make == "nan weights" else r"\[1, K\]|logits|output"
    import re

    code, out, err = gradaudit("audit", audit_file(data={**folder, "batch_size": 1}, model=model), "--out", "run")
    assert (code, out) == (2, "")
    assert re.search(expected, err.strip().splitlines()[-1]), err
    assert "Traceback" not in err


TALKS = """
import os
print("loading ...")

def net():
    from torch import nn
    print("building ...")
    os.system("echo from another process")

    class Talks(nn.Sequential):
        def forward(self, x):
            print("forward")
            return super().forward(x)

    return Talks(nn.Flatten(), nn.Linear(768, 10))
"""


def test_the_document_on_standard_output_is_alone(audit_file, tmp_path):
    """What the user's own code prints, and what a process that it starts prints, goes to standard error."""
    (tmp_path / "talks.py").write_text(TALKS)
    path = audit_file(model={"factory": "talks.py:net"}, repeats=1)
    command = [sys.executable, "-m", "gradaudit", "audit", str(path), "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout)
    assert all(said in done.stderr for said in ("building ...", "from another process", "forward"))


UNABLE = {
    "idlg on a batch": (
        {"attacks": ["idlg"], "knowledge": ["basic"]},
        "infers the label of one example, but this update",
    ),
    "a network without slope": ({"model": {"factory": "nets.py:through_numpy"}}, "does not depend differentiably"),
    "a saturated network": ({"model": {"factory": "nets.py:saturated"}}, "the update is zero in every value"),
}
NETS = """
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 30), nn.Sigmoid(), nn.Linear(30, 10))

class ThroughNumpy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(torch.from_numpy(x.detach().numpy()))

class Saturated(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x) * 0 + 1e4 * torch.eye(10)[:1]

class Dice(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(nn.functional.dropout(x))

def one_logit():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 1))

through_numpy, saturated, dice = ThroughNumpy, Saturated, Dice
"""


@pytest.mark.parametrize("name", UNABLE)
def test_what_cannot_be_judged_is_said_everywhere_and_is_exit_2(gradaudit, audit_file, tmp_path, name):
    """Never an all-clear: in the finding, on the page, at the end of the terminal's output, and in the exit code."""
    changes, why = UNABLE[name]
    (tmp_path / "nets.py").write_text(NETS)
    code, out, err = gradaudit("audit", audit_file(**changes, repeats=1), "--out", "run", "--json")
    (finding,) = json.loads(out)["findings"]
    page = (tmp_path / "run/report.html").read_text()
    assert code == 2
    assert why in finding["cannot_judge"]
    assert finding["psnr_gain"] is None
    assert re.search(f"error: 1 of 1 cases cannot be judged: .*{why}", err.splitlines()[-1])
    assert re.search(f"Cannot be judged:</strong> .*{why}", page)
    assert "Nothing recognisable" not in page


def test_what_can_be_judged_is_judged_beside_it(gradaudit, audit_file, tmp_path):
    attacks = ["idlg", {"name": "dlg", "set": {"stages.0.steps": 2}}]
    code, out, err = gradaudit("audit", audit_file(attacks=attacks, knowledge=["basic"], repeats=1), "--out", "run")
    assert code == 2
    assert len((tmp_path / "run/trials.jsonl").read_text().splitlines()) == 2
    assert re.search(r"no defense +dlg +1 +[\d.]+ dB", out)
    assert err.splitlines()[-1].startswith("error: 1 of 2 cases cannot be judged: idlg: ")


@pytest.mark.parametrize(
    ("net", "why"),
    [("dice", "two passes over the same batch .* F.dropout"), ("one_logit", "[Oo]ne logit|1 logit")],
)
def test_a_model_that_no_audit_can_judge_is_refused(gradaudit, audit_file, tmp_path, net, why):
    (tmp_path / "nets.py").write_text(NETS)
    code, out, err = gradaudit("audit", audit_file(model={"factory": f"nets.py:{net}"}), "--out", "run", "--json")
    assert code == 2
    assert not out or json.loads(out)["findings"] == []
    assert re.search(why, err)


def test_an_objective_that_diverges_is_one_line_and_keeps_what_is_done(gradaudit, audit_file, tmp_path):
    changes = {"stages.0.steps": 5, "stages.0.gradient": "(Noise(std=1e300),)", "stages.0.parametrisation.box": False}
    diverging = {"name": "inverting-gradients", "set": changes}
    path = audit_file(attacks=[CONFIG["attacks"][0], diverging], repeats=1)
    code, out, err = gradaudit("audit", path, "--out", "run", "--json")
    fine, diverged = json.loads(out)["findings"]
    assert code == 2
    assert "1 of 2 cases cannot be judged" in err
    assert fine["cannot_judge"] == ""
    assert "the objective is no longer finite at step" in diverged["cannot_judge"]
    assert "1 of 2 cases cannot be judged" in (tmp_path / "run/report.html").read_text()


def test_yaml_errors_name_the_line(gradaudit, tmp_path):
    (tmp_path / "a.yaml").write_text("data: {source: photographs}\nmodel: [\n")
    code, _, err = gradaudit("audit", "a.yaml")
    assert code == 2
    assert "a.yaml, line" in err
    code, _, err = gradaudit("audit", "missing.yaml")
    assert code == 2
    assert "missing.yaml: cannot read the audit file" in err


APART = {"name": "inverting-gradients", "set": {"stages.0.steps": 400, "together": False}}


def test_ctrl_c_keeps_what_was_computed(audit_file, tmp_path):
    path = audit_file(repeats=12, attacks=[APART])
    command = [sys.executable, "-m", "gradaudit", "audit", str(path), "--out", "run", "--json"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job would ignore it
    )
    results = tmp_path / "run/trials.jsonl"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and not (results.exists() and results.read_text().count("\n")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert "cases are kept in run. Run the same command again to resume" in err
    kept = results.read_text().count("\n")
    assert kept >= 1
    assert "unfinished" in (tmp_path / "run/report.html").read_text().lower() or kept == 12


def test_the_version(gradaudit):
    import gradaudit as package

    assert gradaudit("--version") == (0, f"gradaudit {package.__version__}\n", "")


def test_listings_and_doctor(gradaudit):
    listed = {
        "attacks": "inverting-gradients",
        "defenses": "gaussian-noise",
        "priors": "total-variation",
        "labels": "idlg",
        "metrics": "psnr",
        "models": "fedavg-cnn",
        "sources": "photographs",
        "doctor": "torch",
    }
    for command, expected in listed.items():
        code, out, err = gradaudit(command)
        assert code == 0, err
        assert expected in out


def test_help_teaches(gradaudit):
    code, out, _ = gradaudit("--help")
    assert code == 0
    for command in ("demo", "audit", "report", "attacks", "doctor"):
        assert command in out
    assert "attacks.0.stages.0.steps=2000" in gradaudit("audit", "--help")[1]
    assert gradaudit("audit")[0] == 2
    assert gradaudit("nonsense")[0] == 2
