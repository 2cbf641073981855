"""Cost of one step: `python -m benchmarks.step [--network NAME] [--batch N] [--json] [--seconds S]`.

All times are CPU milliseconds of the process on one thread: medians over rounds in which every column is measured in
turn, so that a busy machine slows all of them equally. Each row runs in two processes at the same time, one for our
columns and one for breaching, because an attack of ours changes what glibc keeps for the rest of its process. Run it
again with MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ set to 1073741824 for the tuned allocator.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import gradaudit as ga
from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import GradientTransform, Progress
from gradaudit.inversion.step.matching import Matching

from .machine import described
from .networks import NETWORKS, has_batch_norm, observe
from .peer import Enough, breaching_iterations

AT = Progress(0, 1)
BLOCK = 3  # calls or whole iterations timed in a row
COLUMNS = ("forward", "forward_backward", "naive", "exact", "directional", "iteration", "breaching")


@dataclass(frozen=True)
class Clock(GradientTransform):
    """Records the time of every step, and ends the run after `count` steps."""

    count: int
    ticks: deque = field(default_factory=deque, compare=False)  # a list would become a tuple

    def __call__(self, gradient: Tensor, at: Progress) -> Tensor:
        self.ticks.append(time.process_time())
        if len(self.ticks) > self.count + 1:
            raise Enough
        return gradient


def our_iterations(seen: ga.Observation) -> Callable[[int], list[float]]:
    """Return the same as `breaching_iterations` for this package's Inverting Gradients, by the automatic route.

    The attack has its own 4 800 steps. Every hundredth iteration also computes the exact gradient for comparison; so
    does the first one, which is a warm-up and is skipped.
    """

    def run(count: int) -> list[float]:
        clock, stage = Clock(count), INVERTING_GRADIENTS.stages[0]
        stage = replace(stage, gradient=(clock, *stage.gradient))
        with suppress(Enough):
            replace(INVERTING_GRADIENTS, stages=(stage,), step="auto")(seen)
        return [1e3 * (after - before) for before, after in pairwise(list(clock.ticks)[1:])]

    return run


def naive_gradient(matching: Matching, x: Tensor, y: Tensor) -> Tensor:
    """Return the gradient for the candidate by a naive double backward pass, with the cosine in plain tensor code."""
    leaf, one, observed = x.clone().requires_grad_(), matching.one_step, matching.seen.update.values
    with sdpa_kernel(SDPBackend.MATH):
        update = torch.autograd.grad(one.loss(leaf, y), one.parameters, create_graph=True)
        inner = sum((a * b).sum() for a, b in zip(update, observed, strict=True))
        lengths = [sum(t.pow(2).sum() for t in side).sqrt() for side in (update, observed)]
        return torch.autograd.grad(1 - inner / (lengths[0] * lengths[1]), leaf)[0]


def measure_peer(name: str, batch: int, size: int, batch_norm: str, seconds: float) -> float | None:
    """Return the milliseconds of an iteration of breaching, or `None` if it is not installed."""
    torch.set_num_threads(1)
    peer = breaching_iterations(*observe(name, batch, size, batch_norm), batch_norm)
    return None if peer is None else _interleaved({"breaching": lambda: peer(BLOCK)}, seconds)["breaching"]


def measure(name: str, batch: int, size: int, batch_norm: str, seconds: float) -> dict:
    """Return the row of one case, without breaching."""
    torch.set_num_threads(1)
    private, seen = observe(name, batch, size, batch_norm)
    x, y = torch.randn(private.inputs.shape, generator=torch.Generator().manual_seed(1)), private.labels
    plain = Matching(seen, Cosine())
    one = plain.one_step

    def forward_backward() -> None:
        torch.autograd.grad(one.loss(x, y), one.parameters)

    def route(step: str) -> list[float]:
        """Return a new matching for each column, because a matching keeps memory that other columns could reuse."""
        matching = Matching(seen, Cosine().bind(seen), step)
        return _in_a_row(lambda: matching.slope(x, y, [], AT))

    columns = {
        "forward": partial(_in_a_row, lambda: one.loss(x, y)),
        "forward_backward": partial(_in_a_row, forward_backward),
        "naive": partial(_in_a_row, lambda: naive_gradient(plain, x, y)),
        "exact": partial(route, "exact"),
        "directional": partial(route, "directional"),
    }
    ours = our_iterations(seen)
    columns["iteration"] = lambda: ours(BLOCK)
    medians = _interleaved(columns, seconds)
    row = {"network": name, "batch": batch, "size": size, "batch_norm": batch_norm}
    row |= {f"{column}_ms": medians[column] for column in columns}
    return row | {"cosine_directional": _agreement(name, batch, size, batch_norm, x)}


def _in_a_row(call: Callable[[], object]) -> list[float]:
    """Return the milliseconds of `BLOCK` calls after a warm-up call, which finds the memory of another column."""
    ticks = []
    for _ in range(BLOCK + 1):
        call()
        ticks.append(time.process_time())
    return [1e3 * (after - before) for before, after in pairwise(ticks)]


def _interleaved(columns: dict[str, Callable[[], list[float]]], seconds: float) -> dict[str, float]:
    for run in columns.values():
        run()
    samples: dict[str, list[float]] = {column: [] for column in columns}
    start, rounds = time.process_time(), 0
    while rounds < 2 or time.process_time() - start < seconds:
        for column, run in columns.items():
            samples[column] += run()
        rounds += 1
    return {column: round(statistics.median(taken), 3) for column, taken in samples.items()}


def _agreement(name: str, batch: int, size: int, batch_norm: str, x: Tensor) -> float:
    """Return the cosine of the directional gradient in float32 and the exact one in float64, for equal weights."""
    private, seen = observe(name, batch, size, batch_norm)
    found = Matching(seen, Cosine(), "directional").slope(x, private.labels, [], AT).inputs
    tensors = {key: value.double() for key, value in seen.update.tensors.items()}
    double = replace(seen, model=seen.model.double(), update=replace(seen.update, tensors=tensors))
    truth = Matching(double, Cosine()).slope(x.double(), private.labels, [], AT).inputs
    return round(torch.nn.functional.cosine_similarity(found.double().flatten(), truth.flatten(), 0).item(), 7)


def cases(network: str | None, batch: int | None) -> list[tuple[str, int, int, str]]:
    """Return `(network, batch, size, BatchNorm mode)` of all cases; without a batch, a set of a few minutes."""
    chosen = []
    for name in [network] if network else NETWORKS:
        for mode in ("eval", "train") if has_batch_norm(name) else ("eval",):
            sizes = [batch] if batch else [4] if mode == "train" else [1, 4, 16] if _small(name) else [1, 4]
            # With one example, the last BatchNorm of the torchvision stem has a single value per channel.
            chosen += [(name, n, 32, mode) for n in sizes if (name, n, mode) != ("resnet18", 1, "train")]
    if network in (None, "resnet18") and batch in (None, 1):
        chosen.append(("resnet18", 1, 224, "eval"))
    return chosen


def _small(name: str) -> bool:
    return name in ("lenet", "fedavg-cnn")


def table(rows: list[dict]) -> str:
    """Return a Markdown table."""
    heads = (
        "network",
        "batch",
        "px",
        "BN",
        "forward",
        "f+b",
        "naive",
        "exact",
        "directional",
        "iteration",
        "breaching",
    )
    lines = ["| " + " | ".join((*heads, "directional / f+b", "iteration / breaching", "1 - cosine")) + " |"]
    lines.append("|---" * (len(heads) + 3) + "|")
    for row in rows:
        cells = [row["network"], row["batch"], row["size"], row["batch_norm"]]
        cells += ["-" if row[f"{c}_ms"] is None else f"{row[f'{c}_ms']:.1f}" for c in COLUMNS]
        cells.append(f"{row['directional_ms'] / row['forward_backward_ms']:.2f}")
        cells.append(f"{row['iteration_ms'] / row['breaching_ms']:.2f}" if row["breaching_ms"] else "-")
        cells.append(f"{1 - row['cosine_directional']:.0e}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=6.0, help="CPU seconds per row (at least two rounds)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # One process for each row: after large networks the allocator keeps memory, which makes the next rows faster.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn, max_tasks_per_child=1) as pool:
        rows = []
        for case in cases(options.network, options.batch):
            ours, peer = (pool.submit(run, *case, options.seconds) for run in (measure, measure_peer))
            rows.append(ours.result() | {"breaching_ms": peer.result()})
    if options.json:
        print(json.dumps({"rows": rows}))
    else:
        tuned = "MALLOC_MMAP_THRESHOLD_" in os.environ
        print(f"{described()}; {'tuned' if tuned else 'default'} allocator\n\n{table(rows)}")


if __name__ == "__main__":
    main()
