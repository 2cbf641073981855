"""Memory and time of unrolled local training against the number of steps: `python -m benchmarks.unrolling [--json]`.

One gradient of the squared distance of updates with respect to the inputs, through τ local steps on one minibatch each.
Bytes are counted as in `benchmarks.memory`: all tensor storages alive at once above parameters and data.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import Tensor

import gradaudit as ga

from .machine import described
from .memory import MB, peak
from .networks import NETWORKS

STEPS = (1, 2, 4, 8)
CASES = (("lenet", "sgd", 0.0), ("convnet-64", "sgd", 0.0), ("fedavg-cnn", "sgd", 0.9), ("fedavg-cnn", "adam", 0.0))
MINIBATCH = 2
SIDE = 32


def measure(name: str, optimiser: str, momentum: float, steps: int) -> dict:
    """Return the row of one case."""
    torch.manual_seed(0)
    model = NETWORKS[name](SIDE)
    inputs, labels = torch.rand(MINIBATCH * steps, 3, SIDE, SIDE), torch.arange(MINIBATCH * steps) % 10
    training = ga.FedAvg(learning_rate=0.01, minibatch_size=MINIBATCH, optimiser=optimiser, momentum=momentum)
    observed = training(model, inputs.flip(0), labels)
    inputs.requires_grad_()

    def slope(checkpoint: bool) -> Tensor:
        update = training(model, inputs, labels, differentiable=True, checkpoint=checkpoint)
        distance = torch.stack([(a - b).square().sum() for a, b in zip(update, observed, strict=True)]).sum()
        return torch.autograd.grad(distance, inputs)[0]

    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    row = {
        "network": name,
        "optimiser": f"{optimiser}, momentum {momentum:g}" if momentum else optimiser,
        "steps": steps,
    }
    row["parameters_mb"] = round(size / MB, 2)
    known = [*model.parameters(), *observed, inputs, labels]
    for checkpoint in (False, True):
        column = "checkpointed" if checkpoint else "kept"
        row[f"{column}_mb"] = peak(lambda checkpoint=checkpoint: slope(checkpoint), known)
        row[f"{column}_ms"] = _milliseconds(lambda checkpoint=checkpoint: slope(checkpoint))
    row["equal"] = torch.equal(slope(False), slope(True))
    return row


def _milliseconds(call) -> float:
    """Return the processor time of the faster of two calls, after the two calls that measured memory."""
    taken = []
    for _ in range(2):
        started = time.process_time()
        call()
        taken.append(time.process_time() - started)
    return round(1000 * min(taken), 1)


def table(rows: list[dict]) -> str:
    """Return a Markdown table."""
    columns = ("parameters_mb", "kept_mb", "checkpointed_mb", "kept_ms", "checkpointed_ms")
    heads = ["network", "optimiser", "steps", *(column.replace("_", " ") for column in columns), "same gradient"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [row["network"], row["optimiser"], row["steps"], *(f"{row[column]:.1f}" for column in columns)]
        lines.append("| " + " | ".join(map(str, [*cells, "yes" if row["equal"] else "no"])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(*case, steps) for case in CASES for steps in STEPS]
    print(json.dumps({"rows": rows}) if options.json else f"{described()}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
