"""A Flower app with two clients, as a user writes it; the folders come from the environment of the test."""

import os
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from small import net, private, trained

from gradaudit.capture.flower import CuriousStrategy, audit_mod

HERE = Path(os.environ.get("CAPTURES", "captures"))
NOISE = LocalDpMod(clipping_norm=10.0, sensitivity=1e-3, epsilon=1.0, delta=1e-5)

client_app = ClientApp()


def fail(path):
    raise RuntimeError(f"this audit always fails, {path.name}")


@client_app.train(mods=[audit_mod(HERE / "outer", audit=fail), NOISE, audit_mod(HERE / "inner")])
def train(message, context):
    """One local step on the private picture of this client."""
    model = net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    trained(model, int(context.node_config["partition-id"]))
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": 1, "loss": 0.5})}
    return Message(RecordDict(content), reply_to=message)


@client_app.evaluate()
def evaluate(message, context):
    """Metrics only: no arrays leave."""
    model = net()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = private(int(context.node_config["partition-id"]))
    with torch.no_grad():
        loss = float(torch.nn.functional.cross_entropy(model.eval()(x), y))
    content = {"metrics": MetricRecord({"num-examples": 1, "eval_loss": loss})}
    return Message(RecordDict(content), reply_to=message)


server_app = ServerApp()


@server_app.main()
def main(grid, context):
    """Two rounds of FedAvg, watched by a curious server."""
    strategy = CuriousStrategy(FedAvg(), HERE / "server")
    result = strategy.start(grid, ArrayRecord(net().state_dict()), num_rounds=2)
    (HERE / "evaluated.txt").write_text(" ".join(map(str, sorted(result.evaluate_metrics_clientapp))))
