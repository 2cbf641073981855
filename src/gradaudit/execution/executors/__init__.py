"""Executors: where the trials of a run are computed. All of them give equal results; they differ in speed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from ...values.discovery import Registry
from ...values.errors import AuditError
from ...values.memory import memory_here
from ...values.validation import suggest
from ..trial import Job, Setting, Site, TrialOutcome

PER_WORKER = 2 * 2**30  # bytes that one process with torch and a small network may take


class Hearer(Protocol):
    """What an executor tells about its work, always in the process and the thread of its caller."""

    def began(self, job: Job) -> None:
        """Handle the start of a job, also a second start after its worker died."""
        ...

    def stepped(self, job: Job, done: int, steps: int, objective: float) -> None:
        """Handle the progress of a job's attack: `done` of `steps`, and the objective."""
        ...

    def ended(self, job: Job, outcome: TrialOutcome) -> None:
        """Handle the outcome of one trial of a job. An exception stops the executor."""
        ...

    def finished(self, job: Job) -> None:
        """Handle the end of a job, after the outcomes of all its trials."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Computes the jobs of a run, somewhere.

    A frozen dataclass with the fields `workers`, `threads` and `address`, of which it may ignore some. A new executor
    is one file in this package, or an entry point of the group `gradaudit.executors`.
    """

    name: str

    @property
    def workers(self) -> int | None:
        """Number of jobs at the same time, or `None` if that depends on the machines."""
        ...

    @property
    def threads(self) -> int | None:
        """Threads of one trial, or `None` for those that torch has."""
        ...

    def run(self, settings: Sequence[Setting], jobs: Sequence[Job], site: Site, hear: Hearer) -> None:
        """Run all jobs and return when every trial has an outcome.

        On any exception, Ctrl-C included, all work is stopped before it is passed on. A worker that dies is replaced,
        and its job starts again up to three times.

        Args:
            settings: What the jobs run on; `Job.setting` is an index.
            jobs: The jobs, in the order in which they should start.
            site: The folder of the run, which this process has locked.
            hear: Called with the outcomes and the progress.

        Raises:
            AuditError: The executor cannot be used here.
        """
        ...


EXECUTORS: Registry[type[Executor]] = Registry(
    __name__,
    "gradaudit.executors",
    lambda value: value.name if isinstance(value, type) and hasattr(value, "run") and hasattr(value, "name") else None,
)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_workers(device: str) -> int:
    """Return the default number of workers: one per core if there is memory for them, or one on a GPU."""
    if device != "cpu" and torch.cuda.is_available():
        return 1
    return max(1, min(cores(), memory_here() // PER_WORKER))


def make_executor(
    name: str | None, workers: int | None, *, threads: int | None = None, address: str | None = None, usual: int = 1
) -> Executor:
    """Return the executor that the options of a command name.

    Args:
        name: Name of the executor; by default `ray` if there is an address, `serial` for one worker, or else `pool`.
        workers: Number of trials at the same time; `usual` by default.
        threads: Threads of one trial; by default one, or for `serial` without any option those of torch.
        address: Address of a Ray cluster.
        usual: Number of workers if none is given.

    Raises:
        AuditError: The name is unknown, or the options contradict each other.
    """
    if workers is not None and workers < 1:
        raise AuditError(f"--workers {workers}: must be at least 1.")
    if threads is not None and threads < 1:
        raise AuditError(f"--threads {threads}: must be at least 1.")
    many = workers or usual
    chosen = name or ("ray" if address else "serial" if many == 1 else "pool")
    if chosen not in EXECUTORS:
        raise AuditError(f"--executor {chosen}: unknown executor{suggest(chosen, EXECUTORS)}")
    if address and chosen != "ray":
        raise AuditError(f"--ray-address {address}: is for --executor ray, not {chosen}.")
    if chosen == "serial" and many > 1 and workers is not None:
        raise AuditError(f"--workers {workers}: --executor serial has one. Choose --executor pool or ray.")
    plain = name is None and workers is None and usual == 1
    number = workers or (None if address else usual)  # a cluster elsewhere has cores of its own
    return EXECUTORS[chosen](workers=number, threads=threads or (None if plain else 1), address=address)  # type: ignore[call-arg]
