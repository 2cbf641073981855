"""What the hooks for Flower and NVFlare consist of, without these frameworks: messages are stand-ins of their shape."""

import hashlib
import json
import logging
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from gradaudit.capture import Settings, capture
from gradaudit.capture.defense_facts import COLUMNS, defense_facts, gaussian_sigma, no_op_reason
from gradaudit.capture.flower import CuriousStrategy, audit_mod, named
from gradaudit.capture.flower_client import run_client_once
from gradaudit.capture.kinds import FileKind
from gradaudit.capture.opening import open_update
from gradaudit.capture.recorder import CaptureRecorder
from gradaudit.capture.writing import capture_name, packed, write_capture
from gradaudit.protocol.defenses import DEFENSES
from gradaudit.values.discovery import example_of
from gradaudit.values.errors import AuditError
from gradaudit.values.tensor_files import read_tensor_file

WEIGHTS = {"z.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.ones(2), "steps": np.array(4)}
AFTER = {name: value + 1 for name, value in WEIGHTS.items()}
FACTS = {"kind": "weights", "round": 3, "node": "site-1", "examples": 8, "order": list(AFTER)}


def facts_of(path):
    with safe_open(path, framework="np") as file:
        return dict(file.metadata())


# Files.


def test_a_capture_holds_its_tensors_and_what_is_known_about_them(tmp_path):
    path = write_capture(tmp_path / "new" / "one.safetensors", AFTER, before=WEIGHTS, **FACTS)
    file = read_tensor_file(path, "update")
    assert {name: value.shape for name, value in file.tensors.items()} == {n: v.shape for n, v in AFTER.items()}
    assert torch.equal(file.tensors["steps"], torch.tensor(5))
    facts = facts_of(path)
    assert json.loads(facts.pop("order")) == ["z.weight", "a.bias", "steps"]  # the format itself sorts the tensors
    whole = (path.parent / facts["before"]).read_bytes()
    assert facts.pop("before_sha256") == hashlib.sha256(whole).hexdigest()
    assert facts.pop("before") == f"global-{hashlib.sha256(whole).hexdigest()[:16]}.safetensors"
    assert facts == {"gradaudit": "1", "kind": "weights", "round": "3", "node": "site-1", "examples": "8"}


def test_weights_that_noise_moved_far_are_no_other_round(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 5))
    noisy = {name: value + 10 * torch.randn_like(value) for name, value in net.state_dict().items()}
    facts = {**FACTS, "order": list(noisy), "kind": "weights"}
    opened = open_update(write_capture(tmp_path / "one.safetensors", noisy, before=net.state_dict(), **facts))
    given = Settings(kind=FileKind.WEIGHTS, input_shape=(3, 4, 4))
    assert capture(net, opened.file, opened.settings(given)).holds == "weights"
    with pytest.raises(AuditError, match="% away"):
        capture(net, opened.file, given)  # the file alone, without its metadata


def test_the_global_weights_are_written_once_for_each_content(tmp_path):
    def write(name, before):
        return write_capture(tmp_path / f"{name}.safetensors", AFTER, before=before, **FACTS)

    first = write("a", WEIGHTS)
    inode = (tmp_path / facts_of(first)["before"]).stat().st_ino
    second, other = write("b", dict(WEIGHTS)), write("c", AFTER)
    assert (tmp_path / facts_of(first)["before"]).stat().st_ino == inode
    assert facts_of(first)["before"] == facts_of(second)["before"] != facts_of(other)["before"]
    assert len(list(tmp_path.glob("global-*"))) == 2


def test_the_same_content_gives_the_same_bytes():
    metadata = {f"key {place}": str(place) for place in range(20)}
    shuffled = dict(reversed(metadata.items()))
    assert packed(WEIGHTS, metadata) == packed(WEIGHTS, shuffled)


def test_torch_and_numpy_go_together(tmp_path):
    mixed = {"a": torch.arange(6.0).view(2, 3).T.to(torch.bfloat16), "b": np.arange(4)[::2], "c": torch.tensor(3)}
    path = write_capture(tmp_path / "x.safetensors", mixed, **{**FACTS, "order": ["a", "b", "c"], "examples": None})
    found = read_tensor_file(path, "update").tensors
    assert torch.equal(found["a"], mixed["a"])
    assert (found["b"].tolist(), found["c"].item(), facts_of(path)["examples"]) == ([0, 2], 3, "")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "weight"}, r"^kind: should be one of weights, difference, gradient\. Found weight\.$"),
        ({"order": ["steps"]}, r"^order: should name each of the 3 tensors once\. Found 1 names\.$"),
        ({"direction": "after-minus-before"}, r"^direction: belongs to a difference"),
        ({"kind": "difference", "direction": "up"}, r"^direction: .* Found up\.$"),
    ],
)
def test_wrong_facts_are_one_line(tmp_path, changed, message):
    with pytest.raises(AuditError, match=message):
        write_capture(tmp_path / "x.safetensors", AFTER, **{**FACTS, **changed})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("examples", [None, 0])
def test_no_examples_are_not_a_number_of_examples(tmp_path, examples):
    path = write_capture(tmp_path / "x.safetensors", AFTER, **{**FACTS, "examples": examples})
    assert facts_of(path)["examples"] == ""


def test_what_is_not_a_number_is_named(tmp_path):
    with pytest.raises(AuditError, match=r"^capture: name holds <U3, not numbers\. Leave it out"):
        write_capture(tmp_path / "x.safetensors", {"name": np.array("net")}, **{**FACTS, "order": ["name"]})


def test_names_of_clients_make_no_paths():
    assert capture_name(3, "../../etc/site 1") == "round-3-node-.._.._etc_site_1.safetensors"
    assert capture_name(0, 7, "query.get") == "query.get-round-0-node-7.safetensors"


# The recorder never stops the federation.


def record(recorder, **changed):
    return recorder.record(AFTER, **{"kind": "weights", "round": 1, "node": 7, "before": WEIGHTS, **changed})


def test_an_audit_in_place_sees_the_capture(tmp_path):
    seen = []
    path = record(CaptureRecorder(tmp_path, seen.append, budget=60.0))
    assert seen == [path] == [tmp_path / "round-1-node-7.safetensors"]


@pytest.mark.parametrize("error", [ValueError("no\nway"), SystemExit(3), AuditError("said: x.")], ids=repr)
def test_an_audit_that_fails_is_one_line(tmp_path, caplog, error):
    def fail(path):
        raise error

    assert record(CaptureRecorder(tmp_path, fail)).exists()
    (line,) = [entry.getMessage() for entry in caplog.records]
    assert line.startswith("gradaudit: round-1-node-7.safetensors was captured, but not audited: ")
    assert type(error).__name__ in line
    assert "\n" not in line


def test_an_audit_over_budget_does_not_hold_the_message(tmp_path, caplog):
    done = threading.Event()
    record(CaptureRecorder(tmp_path, lambda path: done.wait(20), budget=0.05))
    assert not done.is_set()
    done.set()
    assert "did not end within 0.05 s" in caplog.text


def test_a_capture_that_cannot_be_written_is_one_line(tmp_path, caplog):
    (tmp_path / "file").touch()
    assert record(CaptureRecorder(tmp_path / "file" / "folder")) is None
    assert record(CaptureRecorder(tmp_path), kind="weight") is None
    assert [entry.getMessage().count("was not captured") for entry in caplog.records] == [1, 1]


@pytest.mark.parametrize(("code", "said"), [(0, "was audited"), (1, "leaks more than"), (2, "exit code 2: the reason")])
def test_an_audit_file_runs_in_a_process_of_its_own(tmp_path, caplog, monkeypatch, code, said):
    caplog.set_level(logging.INFO, "gradaudit.capture")
    calls = []

    def ran(words, **options):
        calls.append((words, options["timeout"]))
        return SimpleNamespace(returncode=code, stdout=b"out", stderr=b"\nthe reason\n")

    monkeypatch.setattr("subprocess.run", ran)
    path = record(CaptureRecorder(tmp_path, "audit.yaml", budget=30))
    ((words, budget),) = calls
    assert words[1:5] == ["-m", "gradaudit", "audit", "audit.yaml"]
    assert words[5:] == ["--out", str(path.with_suffix("")), "--set", f"update.path={path.resolve()}"]
    assert (budget, said in caplog.text) == (30, True)
    assert (path.with_suffix("") / "audit.log").read_bytes() == b"out\nthe reason\n"


def test_the_process_of_an_audit_file_is_ended_after_its_budget(tmp_path, caplog, monkeypatch):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 30\n")
    sleeper.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    record(CaptureRecorder(tmp_path, "audit.yaml", budget=0.1))
    assert "the audit was ended after 0.1 s" in caplog.text


@pytest.mark.parametrize(("budget", "audit"), [(0, None), (-1.0, None), (None, 3)])
def test_wrong_settings_are_refused_before_the_federation_starts(tmp_path, budget, audit):
    with pytest.raises(AuditError, match="should be"):
        audit_mod(tmp_path, budget=budget, audit=audit)


# Flower's messages, as stand-ins.


class Numbers:
    """As `flwr.app.Array`."""

    def __init__(self, value):
        self.value, self.shape = value, value.shape

    def numpy(self):
        return self.value


def message(arrays=None, kind="train", group="", config=(), metrics=(), node=7, error=False):
    records = {} if arrays is None else {"arrays": {name: Numbers(value) for name, value in arrays.items()}}
    content = SimpleNamespace(
        array_records=records,
        config_records={"config": dict(config)},
        metric_records={"metrics": dict(metrics)},
    )
    about = SimpleNamespace(message_type=kind, group_id=group, src_node_id=node)
    return SimpleNamespace(content=content, metadata=about, has_content=lambda: not error)


CONTEXT = SimpleNamespace(node_id=7, node_config={"partition-id": 2})
SENT = {"config": {"server-round": 4}}
REPLY = {"metrics": {"num-examples": 12, "loss": 0.5}}


def test_the_mod_returns_the_reply_itself_and_writes_it_down(tmp_path):
    reply = message(AFTER, **REPLY)
    assert audit_mod(tmp_path)(message(WEIGHTS, **SENT), CONTEXT, lambda msg, ctxt: reply) is reply
    facts = facts_of(tmp_path / "round-4-node-7.safetensors")
    assert (facts["kind"], facts["examples"], facts["node"]) == ("weights", "12", "7")
    assert read_tensor_file(tmp_path / facts["before"], "weights").tensors["steps"].item() == 4


@pytest.mark.parametrize(("key", "name"), [("", "7"), ("partition-id", "2"), ("site", "7")])
def test_the_configuration_of_a_client_may_name_it(tmp_path, key, name):
    audit_mod(tmp_path, node=key)(message(WEIGHTS, **SENT), CONTEXT, lambda msg, ctxt: message(AFTER))
    assert facts_of(tmp_path / f"round-4-node-{name}.safetensors")["node"] == name


@pytest.mark.parametrize("reply", [message(), message(AFTER, error=True), None], ids=["metrics", "error", "none"])
def test_replies_without_arrays_pass(tmp_path, caplog, reply):
    assert audit_mod(tmp_path)(message(WEIGHTS, **SENT), CONTEXT, lambda msg, ctxt: reply) is reply
    assert not list(tmp_path.iterdir())
    assert not caplog.records


def test_a_message_of_another_kind_has_another_name(tmp_path):
    audit_mod(tmp_path)(message(group="2", kind="query"), CONTEXT, lambda msg, ctxt: message(AFTER))
    assert facts_of(tmp_path / "query-round-2-node-7.safetensors")["before"] == ""


def test_an_error_of_the_app_is_not_swallowed(tmp_path):
    def fail(msg, ctxt):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        audit_mod(tmp_path)(message(WEIGHTS, **SENT), CONTEXT, fail)


def test_a_message_that_cannot_be_read_goes_on(tmp_path, caplog):
    reply = message(AFTER, **REPLY)
    broken = SimpleNamespace(metadata=None, has_content=lambda: True)
    assert audit_mod(tmp_path)(broken, CONTEXT, lambda msg, ctxt: reply) is reply
    assert "the global weights were not read" in caplog.text
    assert (tmp_path / "round-0-node-7.safetensors").exists()


def test_positional_lists_get_names():
    arrays = {str(place): place for place in range(12)}
    assert list(named(arrays)) == [f"arr_{place}" for place in range(12)]
    assert named(arrays, [f"n{place}" for place in range(12)])["n10"] == 10
    assert named({"w": 1, "0": 2}, ["a", "b"]) == {"w": 1, "0": 2}
    with pytest.raises(AuditError, match=r"^names: has 2 names for 12 arrays"):
        named(arrays, ["a", "b"])


class Loop:
    """As a strategy of Flower."""

    fraction = 0.5

    def start(self, replies):
        list(self.configure_train(1, {n: Numbers(v) for n, v in WEIGHTS.items()}, {}, None))
        return self.aggregate_train(1, replies)

    def configure_train(self, server_round, arrays, config, grid):
        return [arrays]

    def aggregate_train(self, server_round, replies):
        return len(replies), None


def test_the_curious_server_captures_every_reply_and_changes_nothing(tmp_path):
    strategy = CuriousStrategy(Loop(), tmp_path)
    replies = iter([message(AFTER, **REPLY), message(node=8), message(AFTER, node=9)])
    assert strategy.start(replies) == (3, None)
    assert strategy.fraction == 0.5
    assert sorted(path.name for path in tmp_path.glob("round*")) == [capture_name(1, node) for node in (7, 9)]
    assert facts_of(tmp_path / capture_name(1, 9))["examples"] == ""
    with pytest.raises(AttributeError):
        _ = strategy.nothing


@pytest.mark.skipif("flwr" in sys.modules, reason="Flower is here")
def test_without_the_frameworks_the_extra_is_named(monkeypatch):
    for name in ("flwr", "flwr.app", "nvflare", "nvflare.apis", "nvflare.apis.dxo"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AuditError, match=r"pip install 'gradaudit\[flower\]'"):
        run_client_once(None, {})
    with pytest.raises(AuditError, match=r"pip install 'gradaudit\[nvflare\]'"):
        import gradaudit.capture.nvflare  # noqa: F401


def test_a_filter_of_nvflare_without_nvflare_names_the_extra(monkeypatch):
    monkeypatch.setattr("gradaudit.protocol.defenses.nvflare_filters.find_spec", lambda name: None)
    borrowed = [kind for kind in DEFENSES.values() if kind.requires == "nvflare"]
    assert len(borrowed) == 3
    for kind in borrowed:
        with pytest.raises(AuditError, match=rf"^{kind.name}: needs NVFlare .* 'gradaudit\[nvflare\]'"):
            example_of(kind)


# What a defense did.


def update():
    generator = np.random.default_rng(0)
    values = {"conv.weight": generator.normal(size=(4, 9)), "fc.bias": generator.normal(size=4)}
    return {**values, "bn.running_mean": np.ones(4), "bn.num_batches_tracked": np.array(3)}


def test_nothing_changed_is_a_no_op_with_its_reason():
    why = no_op_reason("PercentilePrivacy", gamma=0)
    facts = defense_facts(update(), update(), defense="PercentilePrivacy gamma=0", why=why)
    assert (facts.no_op, facts.cosine, facts.norm_kept, facts.changed) == (True, pytest.approx(1), 1, 0)
    assert facts.sentences == (
        "PercentilePrivacy gamma=0 changed nothing: what left the client is the update as trained. With gamma at or "
        "below 0, NVFlare returns the update unchanged and only its debug log says so.",
    )
    assert facts.cells[-1] == "no-op"
    assert len(facts.cells) == len(COLUMNS)


def test_clipping_keeps_the_direction_and_counts_what_it_touched():
    half = {name: value * (0.5 if "num" not in name else 1) for name, value in update().items()}
    facts = defense_facts(update(), half, defense="clip", why="not shown")
    assert (facts.cosine, facts.norm_kept) == (pytest.approx(1), pytest.approx(0.5))
    assert (facts.changed, facts.buffers, facts.no_op, facts.why) == (1, 2, False, "")
    assert (facts.buffers_touched, facts.counters) == (("bn.running_mean",), ("bn.num_batches_tracked",))
    said = " ".join(facts.sentences)
    assert "cosine 1.000" in said
    assert "0.5 times its norm" in said
    assert "sees nearly the same update" in said
    assert "number of local steps still leaves exactly" in said
    assert "no guarantee of differential privacy" in said


def test_removed_tensors_count_as_changed():
    kept = {name: value for name, value in update().items() if name != "conv.weight"}
    facts = defense_facts(update(), kept, defense="exclude")
    assert (facts.removed, facts.changed) == (("conv.weight",), 36 / 40)
    bias, weight = update()["fc.bias"], update()["conv.weight"]
    assert facts.norm_kept == pytest.approx(np.linalg.norm(bias) / np.linalg.norm(np.r_[bias, weight.ravel()]))
    assert "1 tensor no longer leaves the client: conv.weight." in facts.sentences


def test_epsilon_of_several_rounds_is_at_most_the_sum():
    noised = {name: value + 1e-3 for name, value in update().items()}
    facts = defense_facts(update(), noised, defense="dp", epsilon=4.0, rounds=5)
    assert (facts.epsilon, facts.epsilon_overall) == (4.0, 20.0)
    assert "It spent epsilon 4 in this round and 20 in 5 rounds." in facts.sentences
    assert "An epsilon above 10 promises next to nothing." in facts.sentences
    own = defense_facts(update(), noised, defense="dp", epsilon=4.0, epsilon_overall=9.0, rounds=5)
    assert own.epsilon_overall == 9.0


def test_an_update_of_zeros_has_no_direction():
    zeros = {name: np.zeros_like(value) for name, value in update().items()}
    facts = defense_facts(update(), zeros, defense="all")
    assert (facts.cosine, facts.norm_kept) == (None, 0)
    assert "no direction in common" in facts.sentences[0]
    assert defense_facts(zeros, update(), defense="none").norm_kept is None


def test_tensors_of_torch_and_given_buffers():
    before = {"w": torch.ones(3, dtype=torch.bfloat16), "state": torch.ones(2)}
    facts = defense_facts(before, {**before, "state": torch.zeros(2)}, defense="x", buffers=["state"])
    assert (facts.buffers_touched, facts.changed, facts.no_op) == (("state",), 0, False)


@pytest.mark.parametrize(
    ("after", "message"),
    [({"other": np.ones(1)}, r"^after: holds other, which"), ({"fc.bias": np.ones(3)}, r"^after: fc.bias is \[3\]")],
)
def test_another_update_is_refused(after, message):
    with pytest.raises(AuditError, match=message):
        defense_facts(update(), after, defense="x")
    with pytest.raises(AuditError, match=r"^before: holds no tensors"):
        defense_facts({}, {}, defense="x")


def test_the_noise_of_local_dp():
    assert gaussian_sigma(1e-3, 1.0, 1e-5) == pytest.approx(1e-3 * (2 * np.log(1.25e5)) ** 0.5)
