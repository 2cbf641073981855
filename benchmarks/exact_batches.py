"""Exact batches: `python -m benchmarks.exact_batches [--data FILE] [--batches B ...] [--seeds N] [--workers N]`.

SPEAR on the update of one step of the network 3072-m-200-10 with ReLU, untrained and after 200 steps of SGD (learning
rate 0.01, batches of 64), in double and single precision. The images are CIFAR-10 from an archive as for
`data: {source: npz}`, or the package's own photographs. An image counts as exact if no pixel in [0, 1] is off by more
than 1e-3. Each case runs on one thread of a process of its own, up to a limit of seconds of that thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import gradaudit as ga
from gradaudit.attacks.spear import Spear
from gradaudit.data.modalities import ImageHandling
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.attack import TimeLimit
from gradaudit.values.errors import AttackFailed

from .machine import described
from .networks import NORMALISATION

BATCHES = (2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
STEPS, RATE, TRAINED_ON = 200, 0.01, 64
EXACT = 1e-3
TYPES = {"double": torch.float64, "single": torch.float32}
SEARCH = Spear(starts=10**9)  # only the time limits it


class Case(NamedTuple):
    """One cell of the table."""

    batch: int
    trained: bool
    precision: str
    seed: int
    width: int
    limit: float
    data: Path | None
    noise: float


class Run(NamedTuple):
    """One attack: its seconds, the largest error of a pixel, the share of exact images, and whether it is verified."""

    seconds: float
    error: float
    exact: float
    verified: bool
    why: str = ""


@cache
def images(data: Path | None) -> ga.Batch:
    """Return up to 10 000 images of the archive, or the package's photographs, whose labels are arbitrary."""
    source = (SOURCES["photographs"](size=32) if data is None else SOURCES["npz"](data)).open()
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:10_000].tolist()
    labels = chosen if source.labels is None else [int(source.labels[one]) for one in chosen]
    return ga.Batch(source.stack(chosen), torch.tensor(labels) % 10)


def network(case: Case) -> nn.Module:
    """Return the network of a case; the images that train it are none of the batch."""
    torch.manual_seed(case.seed)
    layers = [nn.Linear(3072, case.width), nn.ReLU(), nn.Linear(case.width, 200), nn.ReLU(), nn.Linear(200, 10)]
    model = nn.Sequential(nn.Flatten(), *layers)
    if case.trained:
        every = images(case.data)
        others = torch.randperm(len(every.labels), generator=torch.Generator().manual_seed(case.seed))[case.batch :]
        optimiser = torch.optim.SGD(model.parameters(), RATE)
        for _ in range(STEPS):
            drawn = others[torch.randint(len(others), (TRAINED_ON,))]
            optimiser.zero_grad()
            cross_entropy(model(NORMALISATION.apply(every.inputs[drawn])), every.labels[drawn]).backward()
            optimiser.step()
    return model.to(TYPES[case.precision])


def run(case: Case) -> Run:
    """Attack the gradient of a batch that the seed draws."""
    torch.set_num_threads(1)
    every = images(case.data)
    drawn = torch.randperm(len(every.labels), generator=torch.Generator().manual_seed(case.seed))[: case.batch]
    batch = ga.Batch(every.inputs[drawn].to(TYPES[case.precision]), every.labels[drawn])
    defenses = [ga.protocol.defenses.GaussianNoise(case.noise, relative=True)] if case.noise else []
    seen = ga.Client(network(case), normalisation=NORMALISATION, defenses=defenses).share(batch, "basic")
    started = time.process_time()
    try:
        found = SEARCH(seen, seed=case.seed, watch=TimeLimit(case.limit, clock=time.process_time))
    except AttackFailed as error:
        return Run(time.process_time() - started, float("nan"), 0.0, False, str(error).partition(": ")[2])
    seconds = time.process_time() - started
    apart = (ImageHandling().match(batch, found).inputs - batch.inputs).abs().flatten(1).amax(1)
    return Run(seconds, float(apart.max()), float((apart <= EXACT).double().mean()), found.verified)


def rows(cases: list[Case], runs: Iterator[Run], seeds: int) -> Iterator[str]:
    """Yield a line for every `seeds` cases that differ in their seed alone."""
    yield "| network | precision | batch | CPU seconds, each seed | exact images | largest error | verified | failure |"
    yield "|---|---|---|---|---|---|---|---|"
    for case in cases[::seeds]:
        group = [next(runs) for _ in range(seeds)]
        seconds = ", ".join(f"{one.seconds:.1f}" for one in group)
        errors = [one.error for one in group if not one.why]
        why = next((one.why for one in group if one.why), "")
        yield (
            f"| {'trained' if case.trained else 'untrained'} | {case.precision} | {case.batch} | {seconds} | "
            f"{sum(one.exact for one in group) / seeds:.0%} | {f'{max(errors):.0e}' if errors else 'n/a'} | "
            f"{sum(one.verified for one in group)} of {seeds} | {why} |"
        )


def asked() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exact_batches", description=__doc__)
    parser.add_argument("--data", type=Path, help="archive of CIFAR-10 (.npz); by default the package's photographs")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--networks", nargs="+", choices=("untrained", "trained"), default=("untrained", "trained"))
    parser.add_argument("--precisions", nargs="+", choices=tuple(TYPES), default=tuple(TYPES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=1_000, help="m, units of the first layer")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for one case")
    parser.add_argument("--noise", type=float, default=0.0, help="Gaussian noise, as a share of the largest entry")
    parser.add_argument("--workers", type=int, default=1, help="processes, each with one thread")
    parser.add_argument("--out", type=Path, help="Markdown file to write besides printing")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    options = asked()
    torch.set_num_threads(1)
    sizes = [size for size in options.batches if size < len(images(options.data).labels)]
    groups = product(options.networks, options.precisions, sizes, range(options.seeds))
    cases = [
        Case(size, net == "trained", kind, seed, options.width, options.limit, options.data, options.noise)
        for net, kind, size, seed in groups
    ]
    where = "CIFAR-10" if options.data else "the package's photographs"
    title = f"{described()}; {where}, m = {options.width}, {options.seeds} seeds, limit {options.limit:g} s"
    lines = [title + (f", noise {options.noise:g}" if options.noise else ""), ""]
    print("\n".join(lines), flush=True)
    with ProcessPoolExecutor(options.workers) as pool:
        for line in rows(cases, pool.map(run, cases), options.seeds):
            lines.append(line)
            print(line, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
