"""What must hold on a GPU, as far as a CPU can show it: full precision, and the benchmark that runs there."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from benchmarks.gpu import check, rows
from benchmarks.gpu.__main__ import main
from torch import nn

import gradaudit as ga
from conftest import make_batch
from gradaudit.inversion.run.call import run_attack
from gradaudit.values.full_precision import full_precision


def settings():
    """What torch says of TF32, for convolutions and for products."""
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.fixture
def coarse():
    """A user who has allowed TF32 everywhere."""
    before = settings()
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    yield settings()
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


class Asked(nn.Sequential):
    """A network that records the settings under which it runs."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.seen = []

    def __deepcopy__(self, memo):
        copied = Asked()
        copied.load_state_dict(self.state_dict())
        copied.seen = self.seen
        return copied

    def forward(self, inputs):
        self.seen.append(settings())
        return super().forward(inputs)


def test_client_and_attack_compute_without_tf32_and_leave_the_users_settings(coarse):
    asked = Asked()
    seen = ga.Client(asked).share(make_batch(1), ["priors", "LABELS"])
    attack = ga.attacks.INVERTING_GRADIENTS
    short = replace(attack, stages=(replace(attack.stages[0], steps=2),))
    trained, several = len(asked.seen), None
    short(seen)
    several = len(asked.seen)
    short.many([seen, seen], seeds=[0, 1])
    assert 0 < trained < several < len(asked.seen)
    assert set(asked.seen) == {(False, "highest")}
    assert settings() == coarse


def test_an_attack_of_ones_own_computes_without_tf32(coarse):
    class Own:
        name, needs = "own", ga.Knowledge.NOTHING

        def __call__(self, seen, *, seed=0, watch=None):
            return settings()

    assert run_attack(Own(), None) == (False, "highest")
    assert settings() == coarse


def test_settings_return_after_an_error(coarse):
    with suppress(ValueError), full_precision():
        raise ValueError
    assert settings() == coarse


def failing(*_):
    raise RuntimeError("out of order")


def test_the_benchmark_runs_in_miniature_and_a_failing_attack_is_a_row(tmp_path, monkeypatch, capsys):
    """The real one runs on a GPU; here two attacks, of which one raises, and one step."""
    monkeypatch.setattr(check, "QUICK", ("linear-bias", "cocktail-party"))
    real = check.attacked
    monkeypatch.setattr(check, "attacked", lambda name, *rest: (failing if name[0] == "c" else real)(name, *rest))
    main(["--device", "cpu", "--quick", "--inline", "--parts", "check,memory", "--out", str(tmp_path)])
    lines = [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    first, second, memory = lines
    assert first["attack"] == "linear-bias"
    assert first["recovers"] == "yes"
    assert first["CPU gain"] == first["gain"] > first["needed gain"]
    assert "out of order" in second["error"]
    assert 0 < memory["exact MB"] < memory["rule MB"]
    assert "out of order" in (tmp_path / "gpu.md").read_text()
    assert "[check] attack linear-bias" in capsys.readouterr().out


def test_a_part_ends_at_its_limit_and_names_what_it_left(tmp_path):
    report = rows.Report(tmp_path, "")
    rows.run_part("step", [rows.Case({"network": "lenet"}, failing)], report, rows.Hand(True), 0.0)
    assert "--limit 0 is over" in report.rows["step"][0]["error"]
