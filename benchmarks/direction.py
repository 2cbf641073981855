"""Accuracy of the sign of a difference: `python -m benchmarks.direction CIFAR-10.npz CIFAR-100.npz [--each N]`.

The rule that distinguishes before minus after from after minus before is applied to updates of clients with 2 to 100
classes, 1 to 64 examples, one and several local steps, on networks that are untrained, briefly trained and fully
trained. Labels are uniform in half of the updates, and drawn from a Dirichlet sample of concentration 0.3, as for a
typical client, in the other half. Prints Markdown: the shares of updates with a right and with a wrong answer; for the
rest, the rule reported that the sign is unknown.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import torch
from torch import nn

from gradaudit import Batch, Client, FedAvg, FedSGD, Knowledge, Normalisation
from gradaudit.capture import Direction
from gradaudit.capture.direction import told
from gradaudit.data.sources import SOURCES
from gradaudit.models import build
from gradaudit.protocol.local_training import LocalTraining
from gradaudit.values.errors import AuditError

from .machine import described

NORMALISATION = Normalisation((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
NETWORKS = ("lenet", "mlp", "fedavg-cnn")
CLASSES = (2, 3, 5, 10, 100)
SIZES = (1, 2, 4, 8, 16, 32, 64)
STATES = {"untrained": 0, "half-trained": 2, "trained": 30}
"""Epochs of Adam on four fifths of the images; `trained` uses at most 500, from which half of its batches are drawn."""
FEW = 500


def pictures(path: Path, classes: int) -> Batch:
    """Return at most 2 500 images of the first classes, shuffled."""
    source = SOURCES["npz"](path).open()
    chosen = torch.nonzero(source.labels < classes).view(-1)
    chosen = chosen[torch.randperm(len(chosen))[:2500]]
    return Batch(source.stack(chosen.tolist()), source.labels[chosen].long())


def fitted(name: str, classes: int, data: Batch, epochs: int, rows: int) -> nn.Module:
    """Return a network after `epochs` of Adam on the first `rows` images."""
    net = build(name, num_classes=classes, channels=3, size=32)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for part in torch.randperm(rows).split(64):
            optimiser.zero_grad()
            inputs = NORMALISATION.apply(data.inputs[part])
            nn.functional.cross_entropy(net(inputs), data.labels[part]).backward()
            optimiser.step()
    return net.eval()


def drawn(data: Batch, size: int, classes: int, uneven: bool, seen_before: bool) -> Batch:
    """Return a private batch, drawn with replacement, of images inside or outside the training set."""
    count = len(data.labels)
    pool = torch.arange(min(FEW, count // 2)) if seen_before else torch.arange(4 * count // 5, count)
    weights = torch.ones(classes, dtype=torch.float64)
    if uneven:
        weights = torch.distributions.Gamma(0.3 * weights, 1.0).sample() + 1e-9
    labels = data.labels[pool]
    rows = pool[
        torch.multinomial((weights / torch.bincount(labels, minlength=classes).clamp_min(1))[labels], size, True)
    ]
    return Batch(data.inputs[rows], data.labels[rows])


def ways(size: int) -> dict[str, LocalTraining]:
    """Return three local trainings: one step, several steps on the whole batch, and several on parts of it."""
    part = max(1, size // 4)
    return {
        "one step": FedSGD(),
        "5 steps": FedAvg(learning_rate=0.02, epochs=5),
        "2 epochs": FedAvg(learning_rate=0.02, epochs=2, minibatch_size=part, shuffle=True),
    }


def measure(classes: int, data: Batch, each: int) -> dict[tuple[object, ...], list[int]]:
    """Return (K, state, way, batch size, whether that is known) -> numbers of updates, right and wrong answers."""
    found: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for name in NETWORKS:
        for state, epochs in STATES.items():
            count = len(data.labels)
            net = fitted(name, classes, data, epochs, min(FEW, count // 2) if state == "trained" else 4 * count // 5)
            for size in SIZES:
                for way, training in ways(size).items():
                    for number in range(each):
                        batch = drawn(data, size, classes, bool(number % 2), state == "trained" and number % 4 > 1)
                        client = Client(net, training, normalisation=NORMALISATION)
                        for knowledge in (Knowledge.BATCH_SIZE, Knowledge.NOTHING):
                            try:
                                word = told(client.share(batch, knowledge, seed=number))[0]
                            except AuditError:  # training that diverged shares nothing
                                continue
                            cell = found[classes, state, way, size, bool(knowledge)]
                            cell[0] += 1
                            cell[1] += word is Direction.BEFORE_MINUS_AFTER
                            cell[2] += word is Direction.AFTER_MINUS_BEFORE
    return found


def table(found: dict[tuple[object, ...], list[int]], axis: int, heading: str) -> str:
    """Return one row per value along one axis of `found`."""
    lines = [
        f"| {heading} | updates | size known: right | wrong | size unknown: right | wrong |",
        "|---|---|---|---|---|---|",
    ]
    for value in dict.fromkeys(key[axis] for key in found):
        cells = []
        for known in (True, False):
            counts = [
                sum(c) for c in zip(*(v for k, v in found.items() if k[axis] == value and k[4] == known), strict=True)
            ]
            cells += [f"{counts[1] / counts[0]:.1%}", f"{counts[2]}"]
        lines.append(f"| {value} | {counts[0]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ten", type=Path)
    parser.add_argument("hundred", type=Path)
    parser.add_argument("--each", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found: dict[tuple[object, ...], list[int]] = {}
    for classes in CLASSES:
        found |= measure(classes, pictures(options.hundred if classes > 10 else options.ten, classes), options.each)
    print(f"# The sign of a difference, told from the last layer\n\n{described()}\n")
    for axis, heading in enumerate(("classes", "network", "local training", "batch size")):
        print(f"{table(found, axis, heading)}\n")


if __name__ == "__main__":
    main()
