"""Flower's simulation with two clients: what the mod sees outside and inside LocalDpMod, and what the server sees."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, fixedclipping_mod
from flwr.serverapp.strategy import FedAvg, Strategy
from safetensors import safe_open
from small import net, trained

from gradaudit.capture.defense_facts import defense_facts, gaussian_sigma
from gradaudit.capture.flower import CuriousStrategy, audit_mod
from gradaudit.capture.flower_client import run_client_once
from gradaudit.values.errors import AuditError


def read(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Folders of one simulation: `outer` and `inner` by the mods, `server` by the strategy."""
    folder = tmp_path_factory.mktemp("federation")
    words = [sys.executable, str(Path(__file__).with_name("run_flower.py"))]
    environment = {**os.environ, "CAPTURES": str(folder)}
    done = subprocess.run(words, env=environment, timeout=300, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def rounds(folder):
    return sorted(path.name for path in folder.glob("round-*.safetensors"))


def test_the_federation_ran_and_every_round_and_client_was_captured(captures):
    assert (captures / "evaluated.txt").read_text() == "1 2"  # although the audit of every capture failed
    assert len(rounds(captures / "outer")) == 4
    assert rounds(captures / "outer") == rounds(captures / "inner") == rounds(captures / "server")
    assert len(list((captures / "outer").glob("global-*"))) == 2  # once for each round, not for each client


def test_outermost_sees_the_noise_and_innermost_the_raw_update(captures):
    for name in rounds(captures / "inner"):
        (raw, facts), (noised, _) = read(captures / "inner" / name), read(captures / "outer" / name)
        before, _ = read(captures / "inner" / facts["before"])
        noise = torch.cat([(noised[key] - raw[key]).flatten() for key in raw if raw[key].is_floating_point()])
        assert noise.std().item() == pytest.approx(gaussian_sigma(1e-3, 1.0, 1e-5), rel=0.15)
        counter = "0.1.num_batches_tracked"
        assert noised[counter] - before[counter] == raw[counter] - before[counter] == 1  # the local steps still leave


def test_the_server_receives_what_the_outermost_mod_saw(captures):
    for name in rounds(captures / "server"):
        (mine, about), (theirs, known) = read(captures / "outer" / name), read(captures / "server" / name)
        assert {**about, "order": json.loads(about["order"])} == {**known, "order": list(net().state_dict())}
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
        assert (about["kind"], about["examples"], about["gradaudit"]) == ("weights", "1", "1")


def test_a_wrapped_strategy_is_a_strategy(tmp_path):
    strategy = CuriousStrategy(FedAvg(fraction_train=0.5), tmp_path)
    assert isinstance(strategy, Strategy)
    assert strategy.fraction_train == 0.5


def app_of(*mods):
    app = ClientApp()

    @app.train(mods=list(mods))
    def train(message, context):
        model = net()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        trained(model, 0, int(context.run_config.get("steps", 1)))
        content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    return app


def test_one_round_in_this_process(tmp_path):
    once = run_client_once(app_of(), net().state_dict(), {"steps": 3}, round=5, node=7)
    expected = trained(net(), 0, 3).state_dict()
    assert all(torch.allclose(torch.as_tensor(value), expected[name]) for name, value in once.after.items())
    assert (once.examples, once.metrics["metrics"]["num-examples"]) == (1, 1)
    found, facts = read(once.write(tmp_path))
    assert (facts["round"], facts["node"], list(found) != []) == ("5", "7", True)
    assert read(tmp_path / facts["before"])[0]["2.weight"].equal(net().state_dict()["2.weight"])


def test_the_mod_in_process_passes_messages_without_arrays(tmp_path):
    from gradaudit.capture.flower_client import _identity

    app = ClientApp(mods=[audit_mod(tmp_path)])

    @app.evaluate()
    def evaluate(message, context):
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    with _identity(3):
        content = RecordDict({"arrays": ArrayRecord(net().state_dict()), "config": ConfigRecord({"server-round": 1})})
        message = Message(content, dst_node_id=3, message_type="evaluate")
        reply = app(message, Context(run_id=1, node_id=3, node_config={}, state=RecordDict(), run_config={}))
    assert not reply.has_error()
    assert not list(tmp_path.iterdir())


def test_local_dp_for_the_whole_app_breaks_evaluation():
    """The pitfall that docs/federation.md tells; attached to the training alone, as in `flower_app`, it does not."""
    from gradaudit.capture.flower_client import _identity

    app = ClientApp(mods=[LocalDpMod(1.0, 1e-3, 1.0, 1e-5)])

    @app.evaluate()
    def evaluate(message, context):
        return Message(RecordDict({"metrics": MetricRecord({"num-examples": 1})}), reply_to=message)

    with _identity(3):
        message = Message(
            RecordDict({"arrays": ArrayRecord(net().state_dict())}), dst_node_id=3, message_type="evaluate"
        )
        reply = app(message, Context(run_id=1, node_id=3, node_config={}, state=RecordDict(), run_config={}))
    assert reply.has_error()
    assert "ArrayRecord" in reply.error.reason


def test_clipping_needs_the_norm_from_the_server():
    with pytest.raises(AuditError, match="replied with an error"):
        run_client_once(app_of(fixedclipping_mod), net().state_dict())
    once = run_client_once(app_of(fixedclipping_mod), net().state_dict(), config={"clipping_norm": 1e-2})
    before, after = ({n: v - once.before[n] for n, v in side.items()} for side in (trained_arrays(), once.after))
    facts = defense_facts(before, after, defense="fixedclipping_mod")
    assert facts.cosine == pytest.approx(1, abs=1e-4)
    assert facts.norm_kept < 1


def test_scalars_leave_without_noise_at_any_epsilon():
    """The pitfall that docs/federation.md tells: the number of local steps."""
    noisy = app_of(LocalDpMod(clipping_norm=1.0, sensitivity=1.0, epsilon=1e-3, delta=1e-5))
    once = run_client_once(noisy, net().state_dict(), {"steps": 3})
    update = {name: value - once.before[name] for name, value in once.after.items()}
    assert update["0.1.num_batches_tracked"] == 3
    assert abs(update["0.1.running_mean"]).min() > 1
    raw = {name: value - once.before[name] for name, value in trained_arrays(3).items()}
    assert defense_facts(raw, update, defense="LocalDpMod").counters == ("0.1.num_batches_tracked",)


def trained_arrays(steps=1):
    return {name: value.numpy() for name, value in trained(net(), 0, steps).state_dict().items()}


def test_the_imports_of_the_page_lead_somewhere():
    page = (Path(__file__).parents[2] / "docs/federation.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, re.S):
        exec("\n".join(line for line in block.splitlines() if re.match("(from|import) ", line)), {})
