"""SPEAR and the Cocktail Party Attack over batch sizes and widths: `python -m benchmarks.exact_batches DATA`.

DATA is an archive of CIFAR-10 as for `data: {source: npz}`. The first hidden layer has the given width, a ReLU and
random weights. Seconds are CPU seconds of the process on one thread; a row stops at the limit. An image counts as exact
if no pixel is off by more than 1e-3. The control is the mean of the other images.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from gradaudit import Batch, Client, Level, Normalisation, metrics
from gradaudit.attacks import cocktail_party, spear
from gradaudit.data.modalities import ImageHandling
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.attack import TimeLimit
from gradaudit.protocol.defenses import GaussianNoise
from gradaudit.values.errors import AttackFailed

from .machine import described

NORMALISATION = Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
NOISE = (0.0, 1e-6, 1e-5)
OTHERS = 1_000  # images of the control


def network(width: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3072, width), nn.ReLU(), nn.Linear(width, 200), nn.ReLU(), nn.Linear(200, 10)
    )


def measure(source, attack, width: int, size: int, noise: float, seed: int, seconds: float) -> str:
    """Return one row of the table."""
    picked = torch.randperm(len(source), generator=torch.Generator().manual_seed(seed)).tolist()[: size + OTHERS]
    labels = torch.tensor([source.labels[i] for i in picked[:size]])
    batch = Batch(source.stack(picked[:size]), labels)
    control = source.stack(picked[size:]).mean(0, keepdim=True).expand_as(batch.inputs)
    defenses = [GaussianNoise(noise)] if noise else []
    seen = Client(network(width, seed), normalisation=NORMALISATION, defenses=defenses).share(batch, Level.BASIC)
    head = f"| {attack.name} | {width} | {size} | {noise:g} | {seed} |"
    started = time.process_time()
    try:
        found = attack(seen, seed=seed, watch=TimeLimit(seconds, clock=time.process_time))
    except AttackFailed as error:
        return f"{head} {time.process_time() - started:.1f} | - | - | - | {error} |"
    spent = time.process_time() - started
    matched = ImageHandling().match(batch, found).inputs
    exact = ((matched - batch.inputs).flatten(1).abs().amax(1) <= 1e-3).double().mean()
    ours, blind = (float(metrics.psnr(one, batch.inputs).mean()) for one in (matched, control))
    return (
        f"{head} {spent:.1f} | {float(exact):.0%} | {ours:.1f} | {blind:.1f} | {'verified' if found.verified else ''} |"
    )


def main() -> None:
    """Measure and print the rows as they are made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--attacks", nargs="+", default=["spear", "cocktail-party"])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16, 24, 32, 48, 64])
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512, 1000])
    parser.add_argument("--noise", type=float, nargs="+", default=NOISE)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300.0)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(described(), flush=True)
    print("\n| attack | width | batch | noise | seed | CPU s | exact | PSNR | control | |\n|" + "---|" * 10, flush=True)
    source = SOURCES["npz"](chosen.data).open()
    attacks = [
        one for one in (replace(spear.ATTACK, starts=10**6), cocktail_party.ATTACK) if one.name in chosen.attacks
    ]
    for attack in attacks:
        for width in chosen.widths:
            for size in chosen.batches:
                for noise in chosen.noise:
                    for seed in range(chosen.seeds):
                        print(measure(source, attack, width, size, noise, seed, chosen.seconds), flush=True)


if __name__ == "__main__":
    main()
