"""An audit of a captured update: the file in every form, with and without ground truth, and every error in one line."""

import copy
import json
import pickle
import re
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model

from gradaudit import Client, FedAvg, FedSGD, Finding, Normalisation
from gradaudit.audit.captured import CapturedPlan, make_schedule
from gradaudit.audit.config import make_config
from gradaudit.audit.judge import audit
from gradaudit.comparison.series import read_series
from gradaudit.execution import Results, describe_run, read_folder, run
from gradaudit.execution.runner import Listener
from gradaudit.report import render, verdicts
from gradaudit.report.outcome import Run
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Batch, Knowledge

NETS = """
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def deeper():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.Sigmoid(), nn.Linear(12, 10))

def normed():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Flatten(), nn.Linear(144, 10))
"""
FEDAVG = {"kind": "fedavg", "epochs": 2, "learning_rate": 0.1}
GREY = Normalisation((0.5,), (0.5,))
DLG = [{"name": "dlg", "set": {"stages.0.steps": 12}}]


class Federation:
    """A folder with the files of one round: the server's weights, the client's examples, and its updates."""

    def __init__(self, folder, factory="build", size=1):
        self.folder, self.size = folder, size
        (folder / "nets.py").write_text(NETS)
        self.factory = factory
        names = {}
        exec(NETS, names)
        torch.manual_seed(5)
        self.net = names[factory]().eval()
        torch.save(self.net.state_dict(), folder / "r0.pt")
        pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
        self.images = torch.from_numpy(pixels).float().div(255).unsqueeze(1)
        self.labels = torch.arange(12) % 10
        np.savez(folder / "truth.npz", images=pixels, labels=self.labels.numpy(), names=np.array(list("abcdefghijkl")))
        self.batch = Batch(self.images[:size], self.labels[:size])

    def update(self, training=None):
        return Client(self.net, training or FedSGD(), normalisation=GREY).train(self.batch)

    def after(self, training=None):
        """The whole state of the client after its training."""
        update = self.update(training or FedAvg(epochs=2, learning_rate=0.1))
        own = dict(self.net.named_parameters())
        return {**update.buffers, **{name: own[name].detach() - value for name, value in update.tensors.items()}}

    def config(self, file="u.pt", truth=True, **changes):
        raw = {
            "update": {"path": file, "before": "r0.pt"},
            "model": {"factory": f"nets.py:{self.factory}"},
            "knowledge": ["priors", "LABELS"],
            "attacks": DLG,
        }
        if truth:
            raw["data"] = {"source": "npz", "path": "truth.npz", "batch_size": self.size}
        else:
            raw["update"] |= {"batch_size": self.size, "labels": self.labels[: self.size].tolist()}
            raw["update"]["input_shape"] = [1, 8, 8]
        for key, value in changes.items():
            raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) and key != "training" else value
        return raw

    def schedule(self, *arguments, **changes):
        return make_schedule(make_config(self.config(*arguments, **changes)), self.folder)


@pytest.fixture
def round3(tmp_path):
    return Federation(tmp_path)


def captured_file(path, tensors, kind, **metadata):
    """A file as the adapters write it."""
    facts = {"gradaudit": "1", "kind": kind, "round": "3", "node": "site-1", "order": json.dumps(list(tensors))}
    save_file({name: value.detach().clone() for name, value in tensors.items()}, path, {**facts, **metadata})
    return path


def arrays(tensors):
    return [value.detach().numpy() for value in tensors.values()]


GRADIENTS = {
    "u.pt": lambda path, update: torch.save(update, path),
    "u.pth": lambda path, update: torch.save({"state_dict": update, "epoch": 3}, path),
    "u.safetensors": lambda path, update: captured_file(path, update, "gradient"),
    "u.npz": lambda path, update: np.savez(path, **{name: value.numpy() for name, value in update.items()}),
    "list.npz": lambda path, update: np.savez(path, *arrays(update)),
    "list.pt": lambda path, update: torch.save({"weights": list(update.values())}, path),
    "flower.safetensors": lambda path, update: captured_file(
        path, {str(i): value for i, value in enumerate(update.values())}, "gradient"
    ),
    "half.pt": lambda path, update: torch.save({"model": {f"module.{n}": v.double() for n, v in update.items()}}, path),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_gradient_in_every_form_is_what_the_client_sent(name, round3):
    update = round3.update()
    GRADIENTS[name](round3.folder / name, dict(update.tensors))
    (case,) = round3.schedule(name).cases()
    seen = case.observe()
    assert list(seen.update.tensors) == list(update.tensors)
    assert all(map(torch.equal, seen.update.values, update.values))
    assert seen.update.kind == update.kind
    assert (seen.batch_size, seen.labels.tolist(), seen.input_shape) == (1, [0], (1, 8, 8))
    assert seen.normalisation == GREY
    assert seen.knowledge == case.knowledge


def test_weights_and_differences_of_either_sign_are_one_update(round3):
    training = FedAvg(epochs=2, learning_rate=0.1)
    update, folder = round3.update(training), round3.folder
    torch.save({"model": round3.after()}, folder / "whole.pt")
    torch.save(dict(update.tensors), folder / "before.pt")
    torch.save({name: -value for name, value in update.tensors.items()}, folder / "after.pt")
    captured_file(
        folder / "stated.safetensors",
        {name: -value for name, value in update.tensors.items()},
        "difference",
        direction="after-minus-before",
    )
    for name in ("whole.pt", "before.pt", "after.pt", "stated.safetensors"):
        (case,) = round3.schedule(name, training=FEDAVG, knowledge=["priors", "LOCAL_TRAINING"]).cases()
        seen = case.observe()
        assert seen.training.epochs == 2
        assert seen.update.kind == update.kind
        for value, true in zip(seen.update.values, update.values, strict=True):
            torch.testing.assert_close(value, true, atol=1e-6, rtol=1e-4)


def test_the_direction_in_the_metadata_decides_where_the_last_layer_does_not(round3):
    tensors = {"1.weight": torch.randn(10, 64) - 0.1, "1.bias": torch.tensor([1.0, -1.0] * 5)}
    for sign, direction in ((1, "before-minus-after"), (-1, "after-minus-before")):
        captured_file(round3.folder / "u.safetensors", tensors, "difference", direction=direction)
        (case,) = round3.schedule("u.safetensors", training=FEDAVG).cases()
        assert torch.equal(case.observe().update.tensors["1.bias"], sign * tensors["1.bias"])


def test_no_public_image_is_private_where_there_is_no_truth(round3):
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    pixels[0] = 0
    np.savez(round3.folder / "public.npz", images=pixels)
    changes = {"public_data": {"source": "npz", "path": "public.npz"}, "knowledge": ["data-distribution", "LABELS"]}
    (case,) = round3.schedule("u.pt", truth=False, **changes).cases()
    assert len(case.observe().public_data) == 5
    changes["public_data"] = {"source": "npz", "path": "truth.npz"}
    (case,) = round3.schedule("u.pt", **changes).cases()
    assert len(case.observe().public_data) == 11
    assert "1 public image is private too" in case.warnings[0]


def simulated(federation, **changes):
    """The audit of the simulated client, and the file of its truth with the examples of its batch first."""
    raw = federation.config(**changes)
    raw["model"] = {**raw["model"], "weights": "r0.pt"}
    del raw["update"]
    (case,) = make_schedule(make_config(raw), federation.folder).cases()
    chosen = ["abcdefghijkl".index(name) for name in case.picture_names]
    order = chosen + [i for i in range(12) if i not in chosen]
    with np.load(federation.folder / "truth.npz") as held:
        np.savez(federation.folder / "truth.npz", **{name: held[name][order] for name in held.files})
    return case


@pytest.mark.parametrize("kind", ["gradient", "weights"])
def test_the_audit_of_the_file_is_that_of_the_client(kind, round3):
    changes = {} if kind == "gradient" else {"training": FEDAVG, "knowledge": ["training-details", "LABELS"]}
    case = simulated(round3, **changes)
    sent = case.observe().update
    own = dict(round3.net.named_parameters())
    torch.save(
        {n: (v if kind == "gradient" else own[n].detach() - v) for n, v in sent.tensors.items()},
        round3.folder / "u.pt",
    )
    (again,) = round3.schedule("u.pt", **changes).cases()
    assert again.picture_names == case.picture_names
    first, second = audit(case).finding, audit(again).finding
    assert min(first.mean_gain, second.mean_gain) > 20
    assert second.measured_control.mean == pytest.approx(first.measured_control.mean, abs=1e-4)
    assert second.batch == first.batch  # so that the two can be compared in pairs
    assert second.mean_gain == pytest.approx(first.mean_gain, abs=25)  # both far above the line, from other starts
    assert second.gallery == 12
    assert (first.client, second.client) == ("no defense", "u.pt")


@pytest.fixture
def untold(round3):
    """The finished audit of a gradient without ground truth: its schedule, its findings and its folder."""
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    return finished(round3, round3.schedule("u.pt", truth=False))


def finished(federation, schedule):
    results = Results(federation.folder / "out", describe_run([schedule], "Audit of u"))
    run([schedule], results, Listener())
    return schedule, results.findings, results


def test_without_truth_there_is_no_score_and_no_all_clear(untold):
    schedule, (finding,), results = untold
    assert finding.verified
    assert not finding.scored
    assert not finding.cannot_judge
    assert "no ground truth" in finding.unscored
    assert (finding.labels, finding.guessed_labels, finding.label_accuracy, finding.examples) == ((0,), (0,), None, 1)
    assert finding.objective < 1e-4
    assert finding.batch == schedule.client.sha256[:16]  # another update is another pair
    assert not finding.pictures.truth
    assert not finding.pictures.control
    assert Finding.from_json(json.loads(json.dumps(finding.to_json(), allow_nan=False))) == finding
    page = render([finding], results.run, results.folder)
    text = re.sub(r"\s+", " ", page)
    assert "Proof of a leak:" in text
    assert "What came back" in text
    assert "verified: its update is the captured one" in text
    assert "Nothing recognisable" not in text
    assert "Gain over the control" not in text
    assert "label 0, granted" in text
    assert text.count("data:image/png") == 1
    assert 'width="256"' in text


def test_what_is_not_verified_is_no_all_clear(untold):
    _, (finding,), results = untold
    (verdict,) = verdicts([replace(finding, proof=False, labels_granted=False)], results.folder)
    assert verdict.headline == "Cannot be scored"
    assert "not an all-clear" in verdict.sentence
    assert verdict.level.name == "UNKNOWN"
    assert verdict.details[1] == "Labels inferred by dlg: 0."
    failed = replace(finding, unscored="", cannot_judge="it stopped.", case="client0-attack1-batch0")
    (verdict,) = verdicts([finding, failed], results.folder)
    assert verdict.headline == "Proof of a leak:"
    assert verdict.warnings == ("1 of 2 cases cannot be judged.",)
    (verdict,) = verdicts([failed], results.folder)
    assert verdict.headline == "Cannot be judged:"


def test_an_update_of_few_numbers_proves_nothing(round3):
    torch.save({"1.bias": round3.update().tensors["1.bias"]}, round3.folder / "u.pt")
    (case,) = round3.schedule("u.pt", truth=False).cases()
    finding = audit(case).finding
    assert finding.verified
    assert not finding.proof
    assert any("Not in the file, so not compared: 1.weight" in note for note in finding.notes)


def test_everything_that_reads_a_folder_reads_this_one(untold):
    schedule, findings, results = untold
    read, record = read_folder(results.folder)
    assert read == findings
    assert record.source == "the captured update u.pt, no ground truth"
    (row,) = Run(tuple(findings), record, results.folder).to_records()
    assert (row["gain"], row["label"], row["verified"], row["cannot_judge"]) == (None, 0, True, "")
    (series,), quantities, _ = read_series([results.folder])
    assert series.of("verified")
    assert not series.of("gain")
    assert "psnr" in quantities
    same = pickle.loads(pickle.dumps(schedule))
    assert isinstance(same, CapturedPlan)
    assert same.trial(0, 0) == schedule.trial(0, 0)
    assert same.identity() == schedule.identity()


def test_the_command_audits_a_file_without_truth(round3, gradaudit):
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    path = round3.folder / "audit.yaml"
    path.write_text(json.dumps(round3.config("u.pt", truth=False)))
    code, out, err = gradaudit("audit", path, "--out", "run")
    assert code == 0, err
    assert "n/a" in out
    assert "u.pt: Proof of a leak: the update recomputed from" in out
    assert "no score, objective" in err
    assert gradaudit("report", "run")[0] == 0
    _, out, err = gradaudit("audit", path, "--out", "run", "--json")
    assert "1 of 1 cases are already done" in err
    assert json.loads(out)["findings"][0]["psnr_gain"] is None
    sweep = round3.folder / "sweep.yaml"
    sweep.write_text(json.dumps({**round3.config("u.pt", truth=False), "grid": {"attacks.0.stages.0.steps": [2, 3]}}))
    code, _, err = gradaudit("sweep", sweep, "--out", "swept", "--executor", "serial")
    assert code == 0, err


def test_labels_that_nobody_knows_are_not_scored(round3):
    with np.load(round3.folder / "truth.npz") as held:
        np.savez(round3.folder / "truth.npz", images=held["images"])
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    (case,) = round3.schedule("u.pt", knowledge=["priors"]).cases()
    finding = audit(case).finding
    assert finding.mean_gain > 20
    assert (finding.labels, finding.guessed_labels, finding.label_accuracy, finding.examples) == ((), (0,), None, 1)
    assert not any("modulo" in note for note in finding.notes)


def test_the_metadata_says_what_the_audit_file_does_not(tmp_path, gradaudit):
    federation = Federation(tmp_path, "deeper", size=2)
    weights = (tmp_path / "global.safetensors", tmp_path / "other.safetensors")
    for path, state in zip(weights, (federation.net.state_dict(), federation.after()), strict=True):
        save_file(state, path)
    stated = {"before": weights[0].name, "before_sha256": sha256(weights[0].read_bytes()).hexdigest(), "examples": "2"}
    captured_file(tmp_path / "u.safetensors", federation.after(), "weights", **stated)
    raw = federation.config("u.safetensors", truth=False, knowledge=["priors"], training=FEDAVG)
    raw["update"] = {"path": "u.safetensors", "input_shape": [1, 8, 8]}
    plan = make_schedule(make_config(raw), tmp_path)
    assert plan.description == "the captured update u.safetensors (round 3 of client site-1), no ground truth"
    assert plan.client.size == 2
    assert not plan.warnings
    (case,) = plan.cases()
    for value, true in zip(
        case.observe().update.values, federation.update(FedAvg(epochs=2, learning_rate=0.1)).values, strict=True
    ):
        torch.testing.assert_close(value, true, atol=1e-6, rtol=1e-3)
    for key, where in (("before", "update"), ("weights", "model")):
        mixed = copy.deepcopy(raw)
        mixed[where][key] = "other.safetensors"
        with pytest.raises(AuditError, match=rf"^{where}.{key}: other.safetensors is not .* two rounds are mixed"):
            make_schedule(make_config(mixed), tmp_path)
    raw["update"]["batch_size"] = 3
    (warning,) = make_schedule(make_config(raw), tmp_path).warnings
    assert warning == "The client reported 2 examples, but this audit assumes 3."
    options = ("--input-shape", "1,8,8", "--learning-rate", "0.1", "--json")
    _, out, err = gradaudit("inspect", "u.safetensors", "--model", "nets.py:deeper", *options)
    assert not err
    facts = json.loads(out)
    assert (facts["holds"], facts["weights"], facts["labels"]["batch_size"]) == ("weights", "global.safetensors", 2)


TIED = """
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)
        self.last.weight = self.first.weight

    def forward(self, x):
        return self.last(self.first(x.flatten(1)))
"""


def test_tied_names_of_the_weights_from_before(round3):
    (round3.folder / "tied.py").write_text(TIED)
    names = {}
    exec(TIED, names)
    round3.net = names["Tied"]().eval()
    save_model(round3.net, round3.folder / "r0.safetensors")
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    plan = round3.schedule("u.pt", model={"factory": "tied.py:Tied"}, update={"before": "r0.safetensors"})
    assert all(map(torch.equal, plan.client.model.state_dict().values(), round3.net.state_dict().values()))
    assert [*plan.client.sent.tensors] == ["first.weight", "first.bias", "last.bias"]


BAD = {
    "another model": ({"model": {"factory": "nets.py:deeper"}}, "does not fit the model"),
    "another width": (
        {"update": {"path": "wide.pt"}},
        r"1.weight is \[10, 60\] there but \[10, 64\] in the model",
    ),
    "two rounds": ({"update": {"path": "far.pt", "kind": "weights"}}, "Give the weights that the server sent with upd"),
    "no before": ({"update": {"before": None, "kind": "weights"}}, "^update.before: is missing. u.pt was computed"),
    "a name": ({"update": {"before": None}, "model": {"factory": None, "name": "mlp"}}, "^update.before: is missing"),
    "both": ({"model": {"weights": "r0.pt"}}, "^model.weights: update.before already names"),
    "empty": ({"update": {"path": "zero.pt"}}, "holds nothing to attack: the update is zero in every value"),
    "no tensors": ({"update": {"path": "none.pt"}}, "none.pt holds no tensors"),
    "no file": ({"update": {"path": "missing.pt"}}, "no file at"),
    "clients": ({"clients": 2}, "^clients: 2 does not apply to update"),
    "repeats": ({"repeats": 3}, "^repeats: 3 does not apply to update"),
    "public": ({"public_data": {"source": "npz", "path": "truth.npz"}}, "knowledge lacks PUBLIC_DATA"),
    "sizes": ({"update": {"batch_size": 2}}, "^update.batch_size: 2 examples contradict data.batch_size, which are 1"),
    "too few": ({"data": {"batch_size": None}, "update": {"batch_size": 13}}, "^data: holds 12 images, but the upd"),
    "labels": ({"update": {"labels": [4]}}, "^update.labels: differ from the labels of data, 0"),
    "no class": ({"update": {"labels": [10]}}, "^update.labels: must be classes of the model, below 10. Found 10"),
    "rate": ({"training": FEDAVG, "update": {"kind": "gradient"}}, "^training.learning_rate does not apply to a grad"),
    "no rate": (
        {"update": {"path": "whole.pt"}, "knowledge": ["priors", "LOCAL_TRAINING"]},
        "^training.learning_rate: knowledge grants LOCAL_TRAINING",
    ),
    "unsure": ({"update": {"path": "even.pt", "kind": "difference"}, "training": FEDAVG}, "^update.sign: the sign of"),
    "kind": ({"update": {"kind": "deltas"}}, "update.kind: should be 'auto', 'gradient'"),
    "key": ({"update": {"befor": "r0.pt"}}, "update.befor: unknown key. Did you mean before"),
}


@pytest.mark.parametrize("what", BAD)
def test_errors_name_the_key(what, round3):
    update, folder = dict(round3.update().tensors), round3.folder
    torch.save(update, folder / "u.pt")
    torch.save({**update, "1.weight": update["1.weight"][:, :60]}, folder / "wide.pt")
    torch.save({name: value * 3 + 1 for name, value in round3.net.state_dict().items()}, folder / "far.pt")
    torch.save({name: value * 0 for name, value in update.items()}, folder / "zero.pt")
    torch.save({}, folder / "none.pt")
    torch.save(round3.after(), folder / "whole.pt")
    torch.save({"1.weight": torch.randn(10, 64) - 0.1, "1.bias": torch.tensor([1.0, -1.0] * 5)}, folder / "even.pt")
    changes, says = BAD[what]
    raw = round3.config("u.pt", **changes)
    raw = {key: {k: v for k, v in part.items() if v is not None} if isinstance(part, dict) else part
           for key, part in raw.items()}  # fmt: skip
    with pytest.raises(AuditError, match=says) as caught:
        make_schedule(make_config(raw), folder)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("fact", "says"),
    [
        ("BATCH_SIZE", "^update.batch_size: is missing. knowledge grants BATCH_SIZE"),
        ("LABELS", "^update.labels: is missing"),
        ("BATCH_STATISTICS", "^data: is missing"),
        ("IMAGE_STATISTICS", "^data: is missing"),
    ],
)
def test_a_granted_fact_that_nobody_knows(fact, says, round3):
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    raw = round3.config("u.pt", truth=False, knowledge=[fact], attacks=["dlg"] if fact == "BATCH_SIZE" else [])
    raw["update"] = {"path": "u.pt", "before": "r0.pt", "input_shape": [1, 8, 8]}
    with pytest.raises(AuditError, match=says):
        make_schedule(make_config(raw), round3.folder)


def test_the_file_contradicts_the_declared_training(tmp_path):
    federation = Federation(tmp_path, "normed", size=2)
    torch.save(federation.after(FedAvg(epochs=3, learning_rate=0.1, batch_norm="train")), tmp_path / "u.pt")
    plan = federation.schedule("u.pt", training=FEDAVG)
    assert [warning.partition(",")[0] for warning in plan.warnings] == [
        "The buffers of BatchNorm changed",
        "The step counters of BatchNorm show 3 local steps",
    ]
    plan = federation.schedule("u.pt", training={**FEDAVG, "epochs": 3, "batch_norm": "train"})
    assert not plan.warnings
    (case,) = plan.cases()
    assert case.observe().update.buffers.keys() == dict(federation.net.named_buffers()).keys()


def test_the_buffers_of_one_step_are_granted_as_statistics(tmp_path):
    federation = Federation(tmp_path, "normed", size=2)
    training = FedAvg(learning_rate=0.1, batch_norm="train")
    torch.save(federation.after(training), tmp_path / "u.pt")
    one = {"kind": "fedavg", "learning_rate": 0.1, "batch_norm": "train"}
    known = ["priors", "LABELS", "LOCAL_TRAINING", "BATCH_STATISTICS"]
    (case,) = federation.schedule("u.pt", truth=False, training=one, knowledge=known).cases()
    client = Client(federation.net, training, normalisation=GREY)
    truth = client.share(federation.batch, Knowledge.BATCH_STATISTICS).batch_statistics
    for layer, (mean, variance) in truth.items():
        torch.testing.assert_close(case.observe().batch_statistics[layer][0], mean, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(case.observe().batch_statistics[layer][1], variance, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"gradaudit": "2"}, "its metadata is damaged: gradaudit is 2"),
        ({"kind": "deltas"}, "kind is deltas"),
        ({"direction": "up"}, "direction is up"),
        ({"examples": "-1"}, "examples is -1"),
        ({"before": "../r0.pt"}, r"before is ../r0.pt"),
        ({"order": '["1.weight", "1.bias", "2.weight"]'}, "lists 3 tensors, and 2 are there"),
        ({"order": "{"}, "lists no tensors under order"),
    ],
)
def test_damaged_metadata(metadata, says, round3):
    facts = {"gradaudit": "1", "kind": "gradient", "order": '["1.weight", "1.bias"]', **metadata}
    save_file(dict(round3.update().tensors), round3.folder / "u.safetensors", facts)
    with pytest.raises(AuditError, match=says):
        round3.schedule("u.safetensors")


def test_other_commands_refuse_a_captured_update(round3, gradaudit):
    torch.save(dict(round3.update().tensors), round3.folder / "u.pt")
    path = round3.folder / "audit.yaml"
    path.write_text(json.dumps(round3.config("u.pt")))
    code, _, err = gradaudit("labels", path)
    assert code == 2
    assert "gradaudit inspect" in err
