"""The Cocktail Party Attack on large batches: `python -m benchmarks.cocktail_party [--seeds N] [--data FILE.npz]`.

The network is one hidden linear layer of `--width` units over images of 32 x 32 pixels, untrained. The control is the
mean of the images that are not in the batch: a guess that needs no update. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import gradaudit as ga
from gradaudit import metrics
from gradaudit.attacks.cocktail_party import ATTACK
from gradaudit.data.modalities import ImageHandling
from gradaudit.data.sources import SOURCES
from gradaudit.metrics import mean_interval

from .machine import described
from .networks import NORMALISATION


class Row(NamedTuple):
    """One row: the images of every client, whose gradients are summed, and what follows the linear layer."""

    clients: tuple[int, ...]
    activation: type[nn.Module] = nn.Sigmoid

    @property
    def label(self) -> str:
        """The row's first two columns."""
        sizes = " + ".join(map(str, self.clients))
        return f"{sum(self.clients)}{f' = {sizes}' if len(self.clients) > 1 else ''} | {self.activation.__name__}"


ROWS = (
    *(Row((count,)) for count in (4, 16, 32, 64, 128)),
    Row((64,), nn.ReLU),
    Row((16,) * 4),
)


class Measured(NamedTuple):
    """The scores of one batch in dB, and the CPU seconds."""

    psnr: float
    best: float
    control: float
    seconds: float


def measure(row: Row, source: object, width: int, seed: int) -> Measured | None:
    """Attack one update; `None` if the data hold too few images."""
    count = sum(row.clients)
    if count >= len(source):  # type: ignore[arg-type]
        return None
    torch.manual_seed(seed)
    order = torch.randperm(len(source)).tolist()  # type: ignore[arg-type]
    batch = ga.Batch(source.stack(order[:count]), torch.randint(10, (count,)))  # type: ignore[attr-defined]
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, width), row.activation(), nn.Linear(width, 10))
    several = len(row.clients) > 1
    client = (
        ga.SecureAggregation(model, normalisation=NORMALISATION, sizes=row.clients)
        if several
        else ga.Client(model, normalisation=NORMALISATION)
    )
    seen = client.share(batch, "basic")
    started = time.process_time()
    found = ATTACK(seen, seed=seed)
    seconds = time.process_time() - started
    control = source.stack(order[count : count + 256]).mean(0, keepdim=True)  # type: ignore[attr-defined]
    psnr = metrics.psnr(ImageHandling().match(batch, found).inputs, batch.inputs)
    guessed = metrics.psnr(control.expand_as(batch.inputs), batch.inputs)
    return Measured(float(psnr.mean()), float(psnr.max()), float(guessed.mean()), seconds)


def line(row: Row, runs: list[Measured]) -> str:
    """Return a line of the table."""
    spread = mean_interval([one.psnr - one.control for one in runs])

    def average(name: str) -> float:
        return sum(getattr(one, name) for one in runs) / len(runs)

    gain = f"{spread.mean:+.2f} [{spread.low:+.2f}, {spread.high:+.2f}]"
    decibels = " | ".join(f"{average(name):.1f}" for name in ("psnr", "best", "control"))
    return f"| {row.label} | {gain} | {decibels} | {average('seconds'):.0f} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cocktail_party", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--data", type=Path, help="an .npz file with images and labels; built-in photographs otherwise")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    source = SOURCES["npz"](path=asked.data).open() if asked.data else SOURCES["photographs"](size=32).open()
    print(f"{described()}; {asked.seeds} seeds; {asked.width} units; {asked.data.name if asked.data else 'built-in'}\n")
    print("| images | activation | gain over the control, dB | PSNR, dB | best image, dB | control, dB | CPU seconds |")
    print("|---|---|---|---|---|---|---|")
    for row in ROWS:
        runs = [measure(row, source, asked.width, seed) for seed in range(asked.seeds)]
        if kept := [one for one in runs if one is not None]:
            print(line(row, kept), flush=True)


if __name__ == "__main__":
    main()
