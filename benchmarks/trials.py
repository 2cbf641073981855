"""Jobs and audits for `benchmarks.execution`: trials that take no time, and LeNet trials of about two seconds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from gradaudit.audit.config import make_config
from gradaudit.audit.plan import Plan, make_plan
from gradaudit.execution import Listener, Results, describe_run, locked, run
from gradaudit.execution.executors import Executor
from gradaudit.execution.journal import TRIALS, Journal
from gradaudit.execution.runner import run_trials
from gradaudit.execution.trial import TrialOutcome
from gradaudit.values.finding import Finding
from gradaudit.values.records import content_name


@dataclass(frozen=True)
class Nothing:
    """A setting without a model."""

    uses_gpu: bool = False

    def open(self) -> int:
        return 0


@dataclass(frozen=True)
class Idle:
    """A job that does nothing and returns a line of the length of a finding."""

    number: int
    setting: int = 0

    @property
    def trials(self) -> tuple[str, ...]:
        return (content_name(self.number),)

    @property
    def title(self) -> str:
        return f"idle {self.number}"

    @property
    def checkpoint(self) -> str:
        return self.trials[0]

    def left(self, done) -> Idle | None:
        return None if self.trials[0] in done else self

    def run(self, opened, watch, keep) -> Iterator[TrialOutcome]:
        yield TrialOutcome(self.trials[0], self.title, {"trial": self.trials[0], "filling": "x" * 3000})


class Bare:
    """The folder of a run of idle jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.journal = folder, Journal(folder / TRIALS, dict, itemgetter("trial"))


def idle_run(folder: Path, count: int, executor: Executor, listener: Listener | None = None) -> None:
    """Run `count` idle jobs."""
    folder.mkdir()
    with locked(folder):
        jobs = [Idle(number) for number in range(count)]
        run_trials([Nothing()], jobs, Bare(folder), executor, listener or Listener())


def lenet_plan(trials: int, steps: int) -> Plan:
    """Return an audit of `trials` batches of one image under Inverting Gradients on a LeNet, each a job of its own."""
    raw = {
        "data": {"source": "photographs", "size": 32, "batch_size": 1},
        "model": {"name": "lenet", "num_classes": 10},
        "knowledge": ["priors", "LABELS"],
        "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": steps, "together": False}}],
        "repeats": trials,
        "device": "cpu",
    }
    return make_plan(make_config(raw), Path.cwd())


def lenet_run(plan: Plan, folder: Path, executor: Executor, listener: Listener | None = None) -> dict[str, dict]:
    """Run the audit, and return trial -> finding without its seconds."""
    results = Results(folder, describe_run([plan], "benchmark"))
    run([plan], results, listener or Listener(), executor=executor)
    return numbers(folder)


def numbers(folder: Path) -> dict[str, dict]:
    """Return trial -> finding without its seconds; raise if a trial stands there twice."""
    found: dict[str, dict] = {}
    for line in (folder / TRIALS).read_text().splitlines():
        record = json.loads(line)
        if record["trial"] in found:
            raise ValueError(f"{record['trial']} stands there twice")
        found[record["trial"]] = {**record["result"], "seconds": 0}
    return found


class Clock(Listener[Finding]):
    """Notes when trials end."""

    def __init__(self, clock, workers: int = 1) -> None:
        self.clock, self.workers, self.ends = clock, workers, []

    def end(self, finding, number, total) -> None:
        self.ends.append(self.clock())

    @property
    def per_minute(self) -> float:
        """Trials per minute after each worker's first, without the start of the executor."""
        return 60 * (len(self.ends) - self.workers) / (self.ends[-1] - self.ends[self.workers - 1])
