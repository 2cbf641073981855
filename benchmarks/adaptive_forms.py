"""What an attack gains by knowing the defense of the update: `python -m benchmarks.adaptive_forms [--seeds N]`.

Every cell is the mean PSNR in dB, over N seeds, of the reconstructed photographs of 12 x 12 pixels, each matched to its
best partner. The attack is Inverting Gradients in 120 steps with a total variation of 0.01. It knows the labels.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from torch import nn

import gradaudit as ga
from gradaudit.data.sources.photographs import Photographs
from gradaudit.protocol.defenses import Defense, describe

from .machine import described

D = ga.defenses
DEFENSES: tuple[Defense, ...] = (
    D.TopK(0.01),
    D.RandomK(0.01),
    D.DeepGradientCompression(0.01),
    D.Qsgd(1),
    D.Qsgd(4),
    D.UniformQuantisation(2),
    D.UniformQuantisation(1, "nearest"),
    D.SignSgd(),
    D.SvDefense(0.5),
    D.Outpost(),
    D.Censor(fallback="best"),
    D.PartialSharing(("0.*",)),
    D.Clip(0.1),
    D.Clip(0.02, "tensor"),
    D.Clip(0.003, "value"),
    D.GaussianNoise(0.01),
    D.LaplaceNoise(0.01),
)
CASES = ((nn.Sigmoid, 1), (nn.ReLU, 2))


def attack() -> ga.Attack:
    """Return the shortened attack."""
    stage = ga.attacks.INVERTING_GRADIENTS.stages[0]
    terms = tuple(replace(term, weight=1e-2) for term in stage.terms)
    return replace(ga.attacks.INVERTING_GRADIENTS, stages=(replace(stage, steps=120, terms=terms),))


def network(activation: type[nn.Module], seed: int) -> nn.Module:
    """Return two convolutions and a linear head for images `[B, 3, 12, 12]`."""
    torch.manual_seed(seed)
    first = (nn.Conv2d(3, 12, 5, padding=2, stride=2), activation())
    return nn.Sequential(*first, nn.Conv2d(12, 12, 5, padding=2), activation(), nn.Flatten(), nn.Linear(432, 10))


def measured(defense: Defense, activation: type[nn.Module], size: int, seed: int) -> tuple[float, float]:
    """Return the PSNR of the attack without and with knowledge of the defense."""
    source = Photographs(size=12, crops="whole").open()
    chosen = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:size]
    batch = ga.Batch(torch.stack([source.pictures[int(i)] for i in chosen]), torch.arange(size) + seed)
    client = ga.Client(network(activation, seed), defenses=[defense])
    run = ga.run(client, batch, attack(), ["priors", "LABELS", "DEFENSE"], seed=seed)
    naive, known = (finding.scores.psnr.mean for finding in run.findings)
    return naive, known


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptive_forms", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    seeds = range(parser.parse_args().seeds)
    print(f"{described()}; mean PSNR in dB of {len(seeds)} seeds, without → with knowledge of the defense\n")
    print("| defense | " + " | ".join(f"{kind.__name__}, batch {size}" for kind, size in CASES) + " |")
    print("|---" * (1 + len(CASES)) + "|")
    for defense in DEFENSES:
        cells = []
        for kind, size in CASES:
            found = torch.tensor([measured(defense, kind, size, seed) for seed in seeds]).mean(0)
            cells.append(" → ".join(f"{value:.1f}" for value in found))
        print(f"| {describe(defense)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
