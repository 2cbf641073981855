"""A step before and after a change: `python -m benchmarks.before_after OLD [--network NAME] [--batch N] [--profile]`.

OLD is the folder `src` of another state of this repository, such as `git worktree add ../before HEAD~1` leaves in
`../before/src`. Both states take turns, in a process each time. Prints CPU milliseconds of one directional gradient and
of one iteration of Inverting Gradients (`step="auto"`), the least of three times, and the page faults of a gradient.
With `--profile`, prints the operations of this state that take at least 2 % of an iteration.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.step.matching import Matching

from .machine import described
from .networks import NETWORKS, observe
from .step import AT, our_iterations

ROOT = Path(__file__).resolve().parents[1]
CASES = (
    ("lenet", 1),
    ("lenet", 4),
    ("fedavg-cnn", 1),
    ("fedavg-cnn", 4),
    ("convnet-64", 1),
    ("resnet18", 1),
    ("resnet18", 4),
    ("resnet18-cifar-stem", 1),
    ("vit-tiny", 1),
)
TURNS = 3
COLUMNS = ("gradient_ms", "iteration_ms", "faults")


def measure(network: str, batch: int, seconds: float = 1.5) -> dict[str, float]:
    """Return the columns of one case in this process."""
    torch.set_num_threads(1)
    private, seen = observe(network, batch, 32, "eval")
    matching, x = Matching(seen, Cosine().bind(seen), "directional"), torch.randn(private.inputs.shape)

    def gradient() -> object:
        return matching.slope(x, private.labels, [], AT)

    for _ in range(3):
        gradient()
    once, _ = _timed(gradient, 3)
    count = max(3, int(seconds / once))
    took, faults = _timed(gradient, count)
    iteration = statistics.median(our_iterations(seen)(count))
    return {"gradient_ms": 1e3 * took, "iteration_ms": iteration, "faults": faults}


def _timed(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Return the CPU seconds and the page faults of a call, means over `count` calls."""
    faults, started = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.process_time()
    for _ in range(count):
        call()
    taken = time.process_time() - started
    return taken / count, (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults) / count


def compared(old: Path, network: str, batch: int) -> str:
    """Return the row of one case; both states take turns."""
    least: dict[Path, dict[str, float]] = {}
    for _ in range(TURNS):
        for source in (old, ROOT / "src"):
            found = json.loads(_child(source, network, batch))
            before = least.setdefault(source, found)
            least[source] = {column: min(found[column], before[column]) for column in COLUMNS}
    a, b = least.values()
    cells = [network, str(batch)]
    for column in COLUMNS[:2]:
        cells += [f"{a[column]:.1f}", f"{b[column]:.1f}", f"{b[column] / a[column]:.2f}"]
    return "| " + " | ".join([*cells, f"{a['faults']:.0f}, {b['faults']:.0f}"]) + " |"


def _child(source: Path, network: str, batch: int) -> str:
    paths = os.pathsep.join([str(source), str(ROOT)])
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.before_after", "--measure"]
    command += ["--network", network, "--batch", str(batch)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True)
    return done.stdout


def operations(network: str, batch: int, least: float = 0.02) -> str:
    """Return the operations of an iteration that take at least this share of its CPU time."""
    torch.set_num_threads(1)
    run = our_iterations(observe(network, batch, 32, "eval")[1])
    run(20)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run(20)
    taken = {_name(event.key): event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(taken.values())
    shares = sorted(((time / total, name) for name, time in taken.items() if time >= least * total), reverse=True)
    return f"{network}, batch {batch}: " + ", ".join(f"{share:.0%} {name}" for share, name in shares)


def _name(key: str) -> str:
    """Return the name of an operation; what an optimiser's step spends outside of all operations is Python."""
    return "Python" if key.startswith("Optimizer.step") else key.removeprefix("aten::")


def main() -> None:
    """Print the table, or the columns of one case as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("old", type=Path, nargs="?", help="folder `src` of another state")
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--measure", action="store_true", help="one case in this process, as JSON")
    options = parser.parse_args()
    cases = [(options.network, options.batch or 1)] if options.network else CASES
    if options.measure:
        print(json.dumps(measure(*cases[0])))
        return
    print(f"{described()}\n")
    if options.profile:
        print("\n".join(f"- {operations(*case)}" for case in cases))
        return
    if options.old is None or not (options.old / "gradaudit").is_dir():
        parser.error("OLD must be a folder `src` that holds `gradaudit`.")
    heads = ["network", "batch", "gradient before, ms", "after", "ratio", "iteration before, ms", "after", "ratio"]
    print("| " + " | ".join([*heads, "page faults of a gradient, before and after"]) + " |\n" + "|---" * 9 + "|")
    with suppress(KeyboardInterrupt):
        for case in cases:
            print(compared(options.old.resolve(), *case), flush=True)


if __name__ == "__main__":
    main()
