"""Every label inference on untrained and trained networks: `python -m benchmarks.labels [CIFAR-10 .npz] [--epochs N]`.

Without a file, the images are the built-in photographs with random labels, which is equivalent for untrained networks.
Prints, per network and batch size, the means over the batches of existence and count accuracy, instance recall, the
method's own confidence and the time, beside a random guess.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from gradaudit import Batch, Client, Knowledge, Level, Normalisation
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.parts.labels import LABELS
from gradaudit.inversion.run.label_reading import read_labels
from gradaudit.metrics import class_existence_accuracy, count_accuracy, instance_recall
from gradaudit.models import build

METRICS = (class_existence_accuracy, count_accuracy, instance_recall)
NORMALISATION = Normalisation((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
CLASSES = 10


def pictures(path: Path | None) -> Batch:
    """Return all images, shuffled, with labels."""
    torch.manual_seed(1234)
    source = SOURCES["npz"](path).open() if path else SOURCES["photographs"](size=32).open()
    labels = source.labels if source.labels is not None else torch.randint(CLASSES, (len(source),))
    chosen = torch.randperm(len(source))[:6000]
    return Batch(source.stack(chosen.tolist()), labels[chosen])


def fit(net: nn.Module, data: Batch, epochs: int) -> float:
    """Train with Adam on the second half of `data` and return the accuracy there."""
    half = len(data) // 2
    x, y = NORMALISATION.apply(data.inputs[half:]), data.labels[half:]
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    net.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    net.eval()
    with torch.no_grad():
        return (torch.cat([net(rows) for rows in x.split(256)]).argmax(1) == y).double().mean().item()


def drawn(data: Batch, size: int, trained: bool) -> tuple[Batch, Batch]:
    """Return a private batch, drawn with replacement from the training set, and other images as public data."""
    half = len(data) // 2
    private = torch.randint(half, (size,)) + (half if trained else 0)
    public = torch.randperm(half)[:1000]
    public = public[~torch.isin(public, private)]
    return (Batch(data.inputs[rows], data.labels[rows]) for rows in (private, public))  # type: ignore[return-value]


def measure(name: str, size: int, data: Batch, batches: int, epochs: int) -> None:
    """Print one table."""
    rows: dict[str, list[list[float]]] = {}
    accuracy = None
    for seed in range(batches):
        torch.manual_seed(seed)
        if not epochs or accuracy is None:
            net = build(name, num_classes=CLASSES, channels=3, size=32)
            accuracy = fit(net, data, epochs) if epochs else 0.0
            net.eval()
        torch.manual_seed(seed)
        private, public = drawn(data, size, bool(epochs))
        truth = torch.bincount(private.labels, minlength=CLASSES)
        seen = Client(net, normalisation=NORMALISATION).share(
            private, Level.BASIC | Knowledge.PUBLIC_DATA, public=public
        )
        for method in LABELS:
            for suffix, view in views(method):
                start = time.perf_counter()
                found = read_labels(view, seen, seed=seed)
                if found.tally is not None:
                    scores = [metric(found.tally, truth) for metric in METRICS]
                    scores += [found.confidence or 0.0, time.perf_counter() - start]
                    rows.setdefault(method + suffix, []).append(scores)
        guess = torch.bincount(torch.randint(CLASSES, (size,)), minlength=CLASSES)
        rows.setdefault("random guess", []).append([metric(guess, truth) for metric in METRICS] + [0.0, 0.0])
    state = f"trained to {accuracy:.2f}" if epochs else "untrained"
    print(
        f"\n{name}, {state}, batch {size}, {batches} batches\n{'method':24s} existence counts recall confidence seconds"
    )
    for method, values in rows.items():
        means = torch.tensor(values, dtype=torch.float64).mean(0)
        print(f"{method:24s} " + "  ".join(f"{float(mean):7.3f}" for mean in means) + f"  ({len(values)})")


def views(method: str) -> list[tuple[str, object]]:
    """Return the method with its distinguishing settings."""
    cls = LABELS[method]
    if method in ("bias-counts", "weight-counts"):
        return [(" (noise)", cls(inputs="noise")), (" (public)", cls(inputs="public"))]
    return [("", cls())]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=0, help="train the small networks first")
    parser.add_argument("--batches", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = pictures(options.pictures)
    cases = [("lenet", 8), ("lenet", 24), ("mlp", 24), ("resnet18", 8), ("resnet18", 24), ("resnet18", 64)]
    if options.epochs:
        cases = [("mlp", 24), ("resnet20", 24)]
    for name, size in cases:
        measure(name, size, data, options.batches, options.epochs)


if __name__ == "__main__":
    main()
