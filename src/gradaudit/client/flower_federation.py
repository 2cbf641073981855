"""The same federation in Flower's simulation: a check of the trainer of this package by another server."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch

from ..models.copying import private_copy
from ..values.chance import child_seed
from ..values.errors import AuditError
from .defending import Memories
from .federation import (
    Gather,
    RoundScore,
    Trained,
    accuracy,
    contribution,
    step,
    update_bits,
)
from .federation_settings import Federation, Partition
from .participant import Client

NEEDED = "federation.engine: flower needs `pip install 'gradaudit[flower]' 'flwr[simulation]'`, or choose engine: own."
MEMORIES: dict[tuple[int, int], Memories] = {}
"""What the defenses of each client remember, by the seed of the training, in the one process that runs the clients."""


@dataclass(frozen=True, eq=False)
class FlowerMember:
    """The clients of a training as a function for a Flower `ClientApp`; it is sent to the process that runs them.

    Args:
        client: A client with the model at the start.
        gather: Returns examples of the source.
        parts: The examples of each client.
        federation: How the federation trains.
        seed: Seed of the training.
    """

    client: Client
    gather: Gather
    parts: Partition
    federation: Federation
    seed: int

    def __call__(self, message: Any, context: Any) -> Any:
        """Return the global model after the step that the update of this client alone would be."""
        app = import_module("flwr.app")
        number = int(context.node_config["partition-id"])
        round_ = int(message.content["config"]["server-round"])
        member = replace(self.client, model=private_copy(self.client.model))
        member.model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        own, memory = self.parts.clients[number], MEMORIES.setdefault((self.seed, number), {})
        chance = child_seed(child_seed(self.seed, f"round {round_}"), f"client {number}")
        update = contribution(member, self.gather, own, self.federation, memory, chance)
        sent = deepcopy(member.model)
        step(sent, [update], [1], self.federation.rate(member))
        bits = update_bits(member.defenses, update)
        metrics = app.MetricRecord({"num-examples": len(own), "bits": bits})
        content = app.RecordDict({"arrays": app.ArrayRecord(sent.state_dict()), "metrics": metrics})
        return app.Message(content, reply_to=message)


def require_flower() -> None:
    """Raise `AuditError` unless Flower and the Ray of its simulation are installed."""
    try:
        for name in ("flwr.simulation", "flwr.serverapp.strategy", "ray"):
            import_module(name)
    except ImportError as error:
        raise AuditError(NEEDED) from error


def train_in_flower(
    client: Client,
    gather: Gather,
    parts: Partition,
    federation: Federation,
    seed: int,
    watch: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Train as `train_federation` does, by Flower's FedAvg in its simulation; arguments and errors as there.

    The clients run in one process, so that the defenses keep what they remember. A round counts as diverged if a
    client cannot train in it.
    """
    require_flower()
    member = replace(client, model=private_copy(client.model))
    scores: list[RoundScore] = []

    def evaluate(number: int, arrays: Any) -> Any:
        member.model.load_state_dict(arrays.to_torch_state_dict())
        scores.append(RoundScore(number, accuracy(member, gather, parts.held_out), 0.0))
        if watch and number:
            watch(number, federation.rounds, 1 - scores[-1].accuracy)
        return import_module("flwr.app").MetricRecord({"accuracy": scores[-1].accuracy})

    found = _simulated(FlowerMember(client, gather, parts, federation, seed), evaluate)
    spent, whole = 0.0, [scores[0]] if scores else []
    for score in scores[1:]:
        if score.number not in found or not all(torch.isfinite(p).all() for p in member.model.parameters()):
            raise AuditError(f"flower: a client or the server failed in round {score.number}. Choose engine: own.")
        spent += float(found[score.number]["bits"])
        whole.append(score._replace(bits=spent))
    if len(whole) <= federation.rounds:
        raise AuditError("flower: the simulation ended early; its log says why. Choose engine: own.")
    return Trained(tuple(whole))


def _simulated(member: FlowerMember, evaluate: Callable[[int, Any], Any]) -> dict[int, Any]:
    """Run the simulation, and return number of a round -> the mean metrics of its clients."""
    app, strategies = import_module("flwr.app"), import_module("flwr.serverapp.strategy")
    clients, server = import_module("flwr.clientapp").ClientApp(), import_module("flwr.serverapp").ServerApp()
    count, rounds = member.federation.clients, member.federation.rounds
    clients.train()(member)
    found: dict[int, Any] = {}

    @server.main()  # type: ignore[untyped-decorator]
    def main(grid: Any, context: Any) -> None:
        strategy = strategies.FedAvg(fraction_evaluate=0.0, min_train_nodes=count, min_available_nodes=count)
        start = app.ArrayRecord(member.client.model.state_dict())
        result = strategy.start(grid, start, num_rounds=rounds, evaluate_fn=evaluate)
        found.update(result.train_metrics_clientapp)

    backend = {
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
        "init_args": {"address": "local", "num_cpus": 1, "include_dashboard": False},
    }
    import_module("flwr.simulation").run_simulation(
        server_app=server, client_app=clients, num_supernodes=count, backend_config=backend
    )
    return found
