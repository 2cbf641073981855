"""Rules for the returned iterate: `python -m benchmarks.selection [--network NAME ...] [--steps N] [--seeds N]`.

Inverting Gradients runs on photographs, one update per seed, with `--steps` steps. Three iterates of every run are
compared: the one with the lowest distance, the one with the lowest total (distance plus weighted priors, which the
attacks return), and the last one. Prints Markdown: their mean PSNR in dB over the seeds, and paired differences with
95 % confidence intervals. The ground truth is used afterwards; no attack sees it.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gradaudit import metrics
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.inversion.parts.part import Prior, Progress, Term
from gradaudit.inversion.step.matching import Matching

from .machine import described
from .networks import NORMALISATION
from .quality import Case, case

NETWORKS = ("fedavg-cnn", "convnet-64", "lenet")
CHOICES = ("lowest distance", "lowest total", "last")


@dataclass(frozen=True)
class Recorded(Prior):
    """A prior that records every input with its value."""

    of: Prior
    kept: deque = field(default_factory=deque, hash=False, compare=False)  # a list would become a tuple

    def __call__(self, inputs: Tensor, at: Progress) -> Tensor:
        """Return the penalty of the wrapped prior."""
        penalty = self.of(inputs, at)
        self.kept.append((inputs.detach().clone(), float(penalty.detach())))
        return penalty


def psnrs(on: Case, steps: int, seed: int, looks: int = 200) -> tuple[float, float, float]:
    """Return the PSNR in dB of the three choices of one run, among `looks` evenly spaced iterates and the last one."""
    stage = INVERTING_GRADIENTS.stages[0]
    prior = Recorded(stage.terms[0].prior)
    stage = replace(stage, steps=steps, terms=(Term(prior, stage.terms[0].weight),))
    replace(INVERTING_GRADIENTS, stages=(stage,))(on.seen, seed=seed)
    kept = list(prior.kept)
    iterates = [*kept[: steps : max(1, steps // looks)], kept[-1]]
    matching, at = Matching(on.seen, INVERTING_GRADIENTS.objective), Progress(0, 1)
    distances = [float(matching.value(x, on.private.labels, at)) for x, _ in iterates]
    totals = [d + stage.terms[0].weight * penalty for d, (_, penalty) in zip(distances, iterates, strict=True)]
    chosen = (distances.index(min(distances)), totals.index(min(totals)), -1)
    return tuple(_psnr(on, iterates[place][0]) for place in chosen)  # type: ignore[return-value]


def _psnr(on: Case, x: Tensor) -> float:
    pictures = NORMALISATION.invert(x)
    order = metrics.assign(pictures, on.private.inputs)
    return float(metrics.psnr(pictures[order], on.private.inputs).mean())


def table(networks: Sequence[str], batch: int, steps: int, seeds: int) -> str:
    """Return a table with one row for each network."""
    lines = [f"| network | {' | '.join(CHOICES)} | total - distance | total - last |", "|---|---|---|---|---|---|"]
    for network in networks:
        runs = [psnrs(case(network, batch, seed), steps, seed) for seed in range(seeds)]
        means = [sum(column) / seeds for column in zip(*runs, strict=True)]
        gaps = [metrics.mean_interval([run[1] - run[other] for run in runs]) for other in (0, 2)]
        shown = [f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]" for gap in gaps]
        lines.append(f"| {network} | {' | '.join(f'{mean:.2f}' for mean in means)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="only this network (repeatable)")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"# Which iterate to return\n\n{described()}; {options.steps} steps, batch {options.batch}.\n")
    print(table(options.network or NETWORKS, options.batch, options.steps, options.seeds))


if __name__ == "__main__":
    main()
