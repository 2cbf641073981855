"""Candidates in one pass compared with one after another: `python -m benchmarks.together [--json] [--network NAME]`.

Prints CPU milliseconds per candidate for one gradient of the Inverting Gradients objective on one thread (medians of
interleaved repeats), and the memory of a pass in units of the parameters and activations of one candidate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.run.one_pass import COPIES, ROOM, OnePass, fitting
from gradaudit.inversion.step.matching import Matching

from .machine import described
from .memory import MB, peak
from .networks import NETWORKS, observe

AT = Progress(0, 1)
CASES = (("lenet", 1), ("lenet", 4), ("convnet-64", 1), ("fedavg-cnn", 1), ("resnet18-cifar-stem", 1))
GUESSES = (4, 16, 64)
REPEATS = 7


def milliseconds(call: Callable[[], object]) -> float:
    """Return the process-CPU time of one call in milliseconds."""
    started = time.process_time()
    call()
    return 1e3 * (time.process_time() - started)


def measure(network: str, batch: int, guesses: int) -> dict[str, float]:
    """Return the row of one network."""
    private, seen = observe(network, batch, 32, "eval")
    seen.model.eval()
    matching = Matching(seen, Cosine().bind(seen))
    inputs = torch.randn(guesses, *private.inputs.shape)
    labels = private.labels.expand(guesses, -1)
    at_once = OnePass([matching] * guesses)

    def apart() -> list[Tensor]:
        return [matching.slope(guess, private.labels, [], AT).inputs for guess in inputs]

    def together() -> Tensor:
        return at_once.slope(inputs, labels, [], AT).inputs

    agreement = torch.nn.functional.cosine_similarity(together().flatten(), torch.stack(apart()).flatten(), dim=0)
    times = [(milliseconds(apart), milliseconds(together)) for _ in range(REPEATS)]
    one_by_one, in_one = (statistics.median(column) / guesses for column in zip(*times, strict=True))
    held = MB * peak(together, [*seen.model.parameters(), *seen.update.values, inputs])
    unit = ROOM / COPIES / fitting(matching, inputs[0])
    return {
        "apart_ms": one_by_one,
        "together_ms": in_one,
        "times_faster": one_by_one / in_one,
        "copies": held / (at_once.chunk or 1) / unit,
        "chunk": at_once.chunk or 1,
        "cosine": float(agreement),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        {"network": network, "batch": batch, "guesses": guesses, **measure(network, batch, guesses)}
        for network, batch in CASES
        if chosen.network in (None, network)
        for guesses in (GUESSES if network != "resnet18-cifar-stem" else GUESSES[:1])
    ]
    if chosen.json:
        print(json.dumps({"machine": described(), "rows": rows}))
        return
    print(f"{described()}\n")
    print("| network | batch | guesses | one by one, ms a guess | in one pass | times faster | copies held | cosine |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['network']} | {row['batch']} | {row['guesses']} | {row['apart_ms']:.2f} | {row['together_ms']:.2f}"
            f" | {row['times_faster']:.2f} | {row['copies']:.1f} | {row['cosine']:.6f} |"
        )


if __name__ == "__main__":
    main()
