"""Does the recoverability predict an attack? `python -m benchmarks.recoverability [--workers N] [--data FILE.npz]`.

Each case is one FedSGD gradient of an untrained network: networks x batch sizes x equal or different labels x noise.
Its recoverability, the mean ratio of posterior to prior variance, is compared with what Inverting Gradients achieved on
the same noisy gradient (fast form, labels granted, no knowledge of the noise): the mean PSNR gain over the pixelwise
mean of other images. Prints benchmarks/results/recoverability.md: Spearman's rank correlation of the share that is
determined, 1 - ratio, with the gain, with a 95 % bootstrap interval over batches, whose noise levels stay together; how
often the attack came closer than the bound; and every case.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

import gradaudit as ga
from gradaudit.audit.recoverable import prior_variance, recoverability
from gradaudit.data.sources import SOURCES
from gradaudit.metrics.variance_bounds import LanczosEffort
from gradaudit.models import build

from .machine import described
from .networks import CLASSES, NORMALISATION

ATTACK = ga.attacks.INVERTING_GRADIENTS_FAST
BATCHES = (1, 2, 4)
LEVELS = (0.0, 1e-3, 1e-2)
DRAWS = 4000
LEAST = 8  # cases for which a correlation is computed
INTRODUCTION = """# Does the recoverability predict an attack?

`python -m benchmarks.recoverability {command}`: {cases} FedSGD gradients of untrained networks on {of};
1 to 4 images with different or equal labels, and three noise levels. {spent}.

Recoverability is the mean ratio of posterior to prior variance ([what it means](../../docs/recoverability.md)). Noise 0
is the rounding of single precision. The attack is `inverting-gradients-fast` with the labels, without knowledge of the
noise. Gain: mean PSNR of the batch over the pixelwise mean of other images. A correlation of 1 means that the attack
gains more wherever the update determines more.

## Rank correlation
"""


def _drawn(*layers: nn.Module) -> nn.Module:
    """Return a network whose weights are uniform in [-0.5, 0.5], as those of `lenet`."""
    model = nn.Sequential(*layers)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return model


def _mlp(size: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def _narrow(size: int) -> nn.Module:
    first, second = nn.Conv2d(3, 6, 5, stride=2, padding=2), nn.Conv2d(6, 6, 5, stride=2, padding=2)
    return _drawn(first, nn.Sigmoid(), second, nn.Sigmoid(), nn.Flatten(), nn.Linear(6 * (size // 4) ** 2, CLASSES))


def _pooled(size: int) -> nn.Module:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.Sigmoid(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return _drawn(*layers, nn.Linear(32, CLASSES))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "lenet": lambda size: build("lenet", num_classes=CLASSES, channels=3, size=size),
    "mlp, 24 units": _mlp,
    "two convolutions": _narrow,
    "one convolution, pooled": _pooled,
}


class Cell(NamedTuple):
    """One batch of one network, which all noise levels share."""

    network: str
    examples: int
    equal: bool
    seed: int


class Case(NamedTuple):
    """One noisy gradient: its recoverability, and what the attack gained."""

    cell: Cell
    noise: float
    ratio: float
    error: float
    bound: float
    reached: float
    gain: float


def cells(seeds: int) -> list[Cell]:
    """Return all batches; one image has one kind of labels."""
    every = product(NETWORKS, BATCHES, (False, True), range(seeds))
    return [Cell(*one) for one in every if not (one[1] == 1 and one[2])]


def measure(cell: Cell, *, size: int, data: Path | None, steps: int) -> list[Case]:
    """Return the cases of one batch."""
    torch.set_num_threads(1)
    source = SOURCES["photographs"](size=size).open() if data is None else SOURCES["npz"](data).open()
    torch.manual_seed(1000 * cell.seed + cell.examples)
    order = torch.randperm(len(source))[: cell.examples + 200].tolist()
    pictures = source.stack(order)
    labels = torch.full((cell.examples,), 3) if cell.equal else torch.arange(cell.examples) % CLASSES
    batch, others = ga.Batch(pictures[: cell.examples], labels), pictures[cell.examples :]
    torch.manual_seed(cell.seed)
    model = NETWORKS[cell.network](pictures.shape[-1]).eval()
    plain = ga.Client(model, normalisation=NORMALISATION)
    effort = LanczosEffort(steps=steps, probes=16, seed=cell.seed)
    variance, _ = prior_variance(batch, None, others)
    found = [row for row, _ in recoverability(plain, batch, LEVELS, variance=variance, effort=effort)]
    cases = []
    for row in found:
        noise = (ga.defenses.GaussianNoise(row.level),) if row.level else ()
        client = ga.Client(model, defenses=noise, normalisation=NORMALISATION)
        attacked = ga.run(client, batch, ATTACK, ["priors", "LABELS"], seed=cell.seed, others=others).findings[0]
        cases.append(
            Case(cell, row.level, row.mean, row.error, row.psnr, attacked.scores.psnr.mean, attacked.mean_gain)
        )
    return cases


def correlation(cases: Sequence[Case]) -> tuple[float, float, float]:
    """Return Spearman's correlation of 1 - ratio and gain, and its bootstrap interval over batches."""
    batches: dict[Cell, list[tuple[float, float]]] = {}
    for case in cases:  # 1 - ratio would round small ratios to ties
        batches.setdefault(case.cell, []).append((-case.ratio, case.gain))
    parts = [np.array(rows) for rows in batches.values()]
    generator = np.random.default_rng(0)

    def rank(rows: np.ndarray) -> float:
        constant = any(np.ptp(rows[:, column]) == 0 for column in (0, 1))
        return float("nan") if constant else float(spearmanr(rows[:, 0], rows[:, 1]).statistic)

    def again() -> np.ndarray:
        return np.concatenate([parts[place] for place in generator.integers(0, len(parts), len(parts))])

    low, high = np.nanpercentile([rank(again()) for _ in range(DRAWS)], (2.5, 97.5))
    return rank(np.concatenate(parts)), float(low), float(high)


def summary(cases: Sequence[Case]) -> Iterator[str]:
    """Yield the table of correlations: all cases, and the cases of each network, noise level and batch size."""
    groups: list[tuple[str, list[Case]]] = [("all", list(cases))]
    for name, key in (
        ("network", lambda case: case.cell.network),
        ("noise", lambda case: f"{case.noise:g}"),
        ("images", lambda case: str(case.cell.examples)),
    ):
        for value in dict.fromkeys(map(key, cases)):
            groups.append((f"{name}: {value}", [case for case in cases if key(case) == value]))
    yield "| cases | number | Spearman's correlation | 95 % interval |"
    yield "|---|---|---|---|"
    for name, members in groups:
        if len(members) < LEAST:
            yield f"| {name} | {len(members)} | too few | |"
            continue
        found, low, high = correlation(members)
        yield f"| {name} | {len(members)} | {found:.2f} | [{low:.2f}, {high:.2f}] |"


def listing(cases: Sequence[Case]) -> Iterator[str]:
    """Yield one row for each case."""
    yield "| network | images | labels | seed | noise | mean ratio | PSNR at most (dB) | PSNR (dB) | gain (dB) |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for case in cases:
        cell = case.cell
        error = f" ± {case.error:.2g}" if case.error else ""
        labels = "one" if cell.examples == 1 else "equal" if cell.equal else "different"
        yield (
            f"| {cell.network} | {cell.examples} | {labels} | {cell.seed} | {case.noise:g} | {case.ratio:.3g}{error} | "
            f"{case.bound:.1f} | {case.reached:.1f} | {case.gain:+.1f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recoverability", description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--size", type=int, default=12, help="side of the photographs in pixels")
    parser.add_argument("--data", type=Path, help="an .npz file of small colour images, instead of the photographs")
    parser.add_argument("--steps", type=int, default=256, help="most steps of an estimate")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    began, todo = time.monotonic(), cells(asked.seeds)
    work = partial(measure, size=asked.size, data=asked.data, steps=asked.steps)
    todo.sort(key=lambda cell: -cell.examples)  # the longest first
    with multiprocessing.get_context("spawn").Pool(asked.workers) as pool:
        cases = []
        for number, found in enumerate(pool.imap_unordered(work, todo), 1):
            cases += found
            print(f"{number} of {len(todo)} batches, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    cases.sort(key=lambda case: (list(NETWORKS).index(case.cell.network), *case.cell[1:], case.noise))
    of = f"photographs, {asked.size} x {asked.size} pixels" if asked.data is None else "images of --data"
    spent = f"{described()}; {asked.workers} workers, {time.monotonic() - began:.0f} s"
    print(INTRODUCTION.format(of=of, cases=len(cases), command=" ".join(sys.argv[1:]), spent=spent))
    print("\n".join(summary(cases)))
    above = [case.reached - case.bound for case in cases if case.reached > case.bound]
    print(
        f"\nThe attack came closer than the bound in {len(above)} of {len(cases)} cases, by at most "
        f"{max(above, default=0.0):.1f} dB. The bound is for a Gaussian prior with independent pixels, and the attack "
        "knows that images are smooth and lie in [0, 1]. Curvature of the update does not count in the bound, and a "
        "mean of PSNRs is at least the PSNR of the mean error."
    )
    print("\n## Cases\n")
    print("\n".join(listing(cases)))


if __name__ == "__main__":
    main()
