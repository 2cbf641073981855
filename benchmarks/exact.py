"""Exact attacks: `python -m benchmarks.exact [--seeds N] [--batches B ...] [--only single|batch]`.

Every update is a FedSGD gradient in single precision of an untrained network on the package's own photographs, 32 x 32
pixels. Seconds are CPU seconds of the process on one thread. Two tables: attacks on one image (`SINGLE`), and attacks
on batches (`BATCHED`), whose columns are the share of images that were recovered exactly: whose nearest reconstruction
has at least 60 dB.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

import gradaudit as ga
from gradaudit import metrics
from gradaudit.attacks import linear_bias, r_gap
from gradaudit.data.sources import SOURCES
from gradaudit.models import build
from gradaudit.protocol.local_training.losses.binary_cross_entropy import BinaryCrossEntropy
from gradaudit.values.errors import AttackFailed

from .machine import described
from .networks import NORMALISATION

SIZE = 32
EXACT = 60.0  # dB


class Case(NamedTuple):
    """One row of a table: an attack on a network."""

    attack: ga.Attack
    network: str
    classes: int


SINGLE = (
    Case(r_gap.ATTACK, "cnn6", 1),
    Case(r_gap.ATTACK, "cnn6", 10),
    Case(r_gap.ATTACK, "cnn6-d", 1),
    Case(r_gap.ATTACK, "cnn6-d", 10),
)
BATCHED = (Case(linear_bias.ATTACK, "mlp", 10),)
"""A new attack is one line here."""


class Run(NamedTuple):
    """One attack on one update: the best PSNR of each private image, or why the attack failed."""

    seconds: float
    psnr: Tensor
    found: ga.Reconstruction | None
    why: str = ""


@cache
def photographs() -> object:
    """Return the package's photographs."""
    return SOURCES["photographs"](size=SIZE).open()


def run(case: Case, count: int, seed: int) -> Run:
    """Attack the gradient of `count` photographs, all different, with random labels."""
    torch.manual_seed(seed)
    model = build(case.network, num_classes=case.classes, channels=3, size=SIZE)
    source = photographs()
    chosen = torch.randperm(len(source))[:count].tolist()  # type: ignore[arg-type]
    batch = ga.Batch(source.stack(chosen), torch.randint(max(2, case.classes), (count,)))  # type: ignore[attr-defined]
    training = ga.FedSGD(BinaryCrossEntropy()) if case.classes == 1 else ga.FedSGD()
    seen = ga.Client(model, training, normalisation=NORMALISATION).share(batch, "basic")
    started = time.process_time()
    try:
        found = case.attack(seen, seed=seed)
    except AttackFailed as error:
        return Run(time.process_time() - started, torch.zeros(count), None, str(error))
    seconds = time.process_time() - started
    guesses = found.inputs.to(batch.inputs)
    best = [metrics.psnr(guesses, image.expand_as(guesses)).max() for image in batch.inputs]
    return Run(seconds, torch.stack(best), found)


def single(seeds: int, _: list[int]) -> Iterator[str]:
    """Yield the table of attacks on one image."""
    yield "| attack | network | logits | CPU seconds | PSNR (dB), each image | verified | unknowns left open |"
    yield "|---|---|---|---|---|---|---|"
    for case in SINGLE:
        runs = [run(case, 1, seed) for seed in range(seeds)]
        seconds = sum(one.seconds for one in runs) / seeds
        psnr = ", ".join(f"{float(one.psnr[0]):.0f}" for one in runs)
        right = sum(one.found is not None and one.found.verified for one in runs)
        notes = {note.split(":")[0] for one in runs if one.found for note in one.found.notes if "undetermined" in note}
        yield (
            f"| {case.attack.name} | {case.network} | {case.classes} | {seconds:.1f} | {psnr} | {right} of {seeds} | "
            f"{'; '.join(sorted(notes)) or 'none'} |"
        )


def batched(seeds: int, batches: list[int]) -> Iterator[str]:
    """Yield the table of attacks on batches."""
    yield "| attack | network | images | exactly recovered | whole batch verified | refused | CPU seconds |"
    yield "|---|---|---|---|---|---|---|"
    for case in BATCHED:
        for count in batches:
            runs = [run(case, count, seed) for seed in range(seeds)]
            exact = sum(int((one.psnr >= EXACT).sum()) for one in runs)
            right = sum(one.found is not None and one.found.verified for one in runs)
            refused = sum(one.found is None for one in runs)
            seconds = sum(one.seconds for one in runs) / seeds
            yield (
                f"| {case.attack.name} | {case.network} | {count} | {exact / seeds / count:.0%} | {right} of {seeds} | "
                f"{refused} of {seeds} | {seconds:.2f} |"
            )


TABLES: dict[str, Callable[[int, list[int]], Iterator[str]]] = {"single": single, "batch": batched}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exact", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--only", choices=tuple(TABLES))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{described()}; {asked.seeds} seeds", flush=True)
    for name in [asked.only] if asked.only else TABLES:
        print()
        for line in TABLES[name](asked.seeds, asked.batches):
            print(line, flush=True)


if __name__ == "__main__":
    main()
