"""Executors: speed, overhead, losses: `python -m benchmarks.execution [scaling|overhead|deaths|kills|store ...]`.

Without a name all parts run, in about 25 minutes on two idle cores. `--trials` and `--steps` set the number of LeNet
trials and the attack steps of each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradaudit.execution.executors.process_pool import ProcessPool
from gradaudit.execution.executors.ray_cluster import QUIET, RayCluster
from gradaudit.execution.executors.serial import Serial
from gradaudit.execution.journal import Journal
from gradaudit.values.finding import Finding

from .machine import described
from .trials import Clock, idle_run, lenet_plan, lenet_run, numbers

NODE = {"num_cpus": 1, "include_dashboard": False}
LINES = 100_000
KILLS = 10


@contextmanager
def cluster(nodes: int) -> Iterator[tuple[object, list[object]]]:
    """Start a Ray cluster of one-core nodes on this machine, and connect to it."""
    os.environ.update(QUIET)
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE)
    others = [made.add_node(num_cpus=1) for _ in range(nodes - 1)]
    ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield made, others
    finally:
        ray.shutdown()
        made.shutdown()


def scaling(folder: Path, trials: int, steps: int) -> dict:
    """Print trials per minute of each executor; return the findings of the serial run."""
    plan, rows = lenet_plan(trials, steps), {}
    print("\n| executor | trials per minute | against serial | seconds in all |\n|---|---|---|---|")

    def row(name: str, executor, workers: int = 1) -> dict:
        clock, started = Clock(time.perf_counter, workers), time.perf_counter()
        found = lenet_run(plan, folder / name.replace(" ", "-"), executor, clock)
        rows[name] = clock.per_minute
        total = time.perf_counter() - started
        print(f"| {name} | {clock.per_minute:.1f} | {rows[name] / rows['serial']:.2f} | {total:.0f} |", flush=True)
        return found

    serial = row("serial", Serial(threads=1))
    others = [row("pool 1", ProcessPool(1)), row("pool 2", ProcessPool(2), 2)]
    for nodes in (1, 2, 3):
        with cluster(nodes):
            others.append(row(f"ray {nodes} nodes", RayCluster(), nodes))
    print(f"\nEqual numbers on all executors: {all(found == serial for found in others)}; pool 2 against pool 1: "
          f"{rows['pool 2'] / rows['pool 1']:.2f}")  # fmt: skip
    return serial


def overhead(folder: Path) -> None:
    """Print milliseconds per trial that does nothing, its line of 3 kB on disk included."""
    print("\n| executor | idle trials | ms per trial |\n|---|---|---|")
    for name, count, executor in (
        ("serial", 2_000, Serial(threads=1)), ("pool 1", 2_000, ProcessPool(1)), ("pool 2", 2_000, ProcessPool(2)),
    ):  # fmt: skip
        print(f"| {name} | {count} | {_idle(folder / f'idle-{name}', count, executor):.2f} |", flush=True)
    with cluster(2):
        print(f"| ray 2 nodes | 500 | {_idle(folder / 'idle-ray', 500, RayCluster()):.2f} |", flush=True)


def _idle(folder: Path, count: int, executor) -> float:
    clock = Clock(time.perf_counter)
    idle_run(folder, count, executor, clock)
    return 60_000 / clock.per_minute


def deaths(folder: Path, trials: int, steps: int, serial: dict | None) -> None:
    """Kill a node in the middle of the trials, and compare with a serial run."""
    plan = lenet_plan(trials, steps)
    serial = serial or lenet_run(plan, folder / "serial-for-deaths", Serial(threads=1))
    with cluster(3) as (made, others):

        class Killer(Clock):
            def end(self, finding, number, total) -> None:
                super().end(finding, number, total)
                if number == trials // 2:
                    made.remove_node(others[0], allow_graceful=False)

        found = lenet_run(plan, folder / "node-killed", RayCluster(), Killer(time.perf_counter))
    print(f"\nOne of three nodes killed after {trials // 2} of {trials} trials: {len(found)} there, each once, "
          f"equal to serial: {found == serial}")  # fmt: skip


RUN = (
    "from benchmarks.trials import *; from gradaudit.execution.executors.process_pool import ProcessPool; import sys; "
)
RUN += "lenet_run(lenet_plan(int(sys.argv[1]), int(sys.argv[2])), Path(sys.argv[3]), ProcessPool(2))"


def kills(folder: Path, trials: int, steps: int, serial: dict | None) -> None:
    """Kill the whole run with SIGKILL at ten random times, go on each time, and compare with a serial run."""
    plan, target = lenet_plan(trials, steps), folder / "killed"
    serial = serial or lenet_run(plan, folder / "serial-for-kills", Serial(threads=1))
    chance, kept = random.Random(0), []
    for _ in range(KILLS):
        command = [sys.executable, "-c", RUN, str(trials), str(steps), str(target)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(1, 20))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept.append(len(numbers_of(target)))
    found = lenet_run(plan, target, ProcessPool(2))
    print(f"\nKilled {KILLS} times; trials on disk after each: {kept}. After the last start: {len(found)}, each once, "
          f"equal to serial: {found == serial}")  # fmt: skip


def numbers_of(target: Path) -> dict:
    """Return the findings of a run that may have just been killed."""
    try:
        return numbers(target)
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def store(folder: Path, serial: dict | None) -> None:
    """Append and read a hundred thousand findings."""
    sample = next(iter((serial or lenet_run(lenet_plan(1, 2), folder / "one", Serial())).values()))
    journal = Journal(folder / "many.jsonl", Finding.from_json, lambda finding: finding.trial)
    started = time.perf_counter()
    for number in range(LINES):
        journal.append(f"{number:016x}", {**sample, "trial": f"{number:016x}"})
    appended = time.perf_counter() - started
    size = journal.path.stat().st_size
    fresh = Journal(journal.path, Finding.from_json, lambda finding: finding.trial)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    fresh.read()
    read = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"\n{LINES} findings: {appended / LINES * 1e3:.2f} ms to append one with fsync, {size / LINES:.0f} bytes, "
          f"{read / LINES * 1e6:.0f} µs to read and check one; reading took {grown / 1024:.0f} MiB more")  # fmt: skip


def main() -> None:
    """Run the command."""
    parts = ("scaling", "overhead", "deaths", "kills", "store")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*parts, []], default=[])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--steps", type=int, default=500)
    asked = parser.parse_args()
    chosen, serial = asked.parts or parts, None
    print(described())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "scaling" in chosen:
            serial = scaling(folder, asked.trials, asked.steps)
        if "overhead" in chosen:
            overhead(folder)
        if "deaths" in chosen:
            deaths(folder, asked.trials, asked.steps, serial)
        if "kills" in chosen:
            kills(folder, asked.trials, asked.steps, serial)
        if "store" in chosen:
            store(folder, serial)


if __name__ == "__main__":
    main()
