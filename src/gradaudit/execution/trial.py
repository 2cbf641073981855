"""Trials and the jobs that run them: the one protocol of audits, sweeps and studies, and of all executors."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..inversion.attack import Watch
from ..values.errors import AuditError, in_one_line
from .lock import holder_of

UNFINISHED = "unfinished"


@dataclass(frozen=True)
class TrialOutcome:
    """The result of one trial, or why there is none.

    Args:
        trial: Name of the trial.
        title: What the trial was, in words.
        result: Plain data for one line of JSON; `None` if the trial failed.
        files: Path relative to the folder of the run -> content; written before the line.
        error: Why the trial failed, in one line.
        trace: The traceback, if the error is not one that a user can fix.
    """

    trial: str
    title: str
    result: Mapping[str, Any] | None = None
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    error: str = ""
    trace: str = ""


class Setting(Protocol):
    """What trials run on, such as models and data. It is sent to a worker once, and opened once by each worker."""

    @property
    def uses_gpu(self) -> bool:
        """Whether its trials run on a GPU."""
        ...

    def open(self) -> Any:
        """Return the open setting. Raise `AuditError` if a file or a name is missing."""
        ...


class Job(Protocol):
    """One or more trials that one worker runs in one go. Its results depend on nothing but its value."""

    @property
    def setting(self) -> int:
        """Number of its setting."""
        ...

    @property
    def trials(self) -> tuple[str, ...]:
        """Names of the trials; each is a hash of everything that its result depends on."""
        ...

    @property
    def title(self) -> str:
        """What it is, in words."""
        ...

    @property
    def checkpoint(self) -> str:
        """Name of its checkpoints, which no other job has."""
        ...

    def left(self, done: Container[str]) -> Job | None:
        """Return the job without trials that are done, if it can do without them; `None` if all are done."""
        ...

    def run(self, opened: Any, watch: Watch | None, keep: Path | None) -> Iterable[TrialOutcome]:
        """Run the trials.

        Args:
            opened: What its setting opened.
            watch: Called with the progress of an attack.
            keep: Path of the checkpoints of a long attack, or `None` if the worker cannot keep any.

        Raises:
            Exception: Any exception is written down as the error of the trials without an outcome so far.
        """
        ...


@dataclass(frozen=True)
class Site:
    """The folder of a run, as a worker on any machine sees it.

    Args:
        folder: Its absolute path.
        owner: Contents of its lock file, by which a worker on another machine knows whether it sees the same folder.
    """

    folder: Path
    owner: bytes = b""

    @classmethod
    def of(cls, folder: Path) -> Site:
        """Return the site of a folder that this process has locked."""
        return cls(folder.resolve(), holder_of(folder))

    def keep(self, job: Job) -> Path | None:
        """Return the path of a job's checkpoints, or `None` where the folder is not shared with this machine."""
        return self.folder / UNFINISHED / job.checkpoint if holder_of(self.folder) == self.owner else None


def outcomes(job: Job, opened: Callable[[], Any], site: Site, watch: Watch | None) -> Iterator[TrialOutcome]:
    """Run a job and yield one outcome for each of its trials, also if it fails.

    Args:
        job: The job.
        opened: Returns the open setting of the job.
        site: The folder of the run.
        watch: Called with the progress of an attack.
    """
    left = list(job.trials)
    try:
        for outcome in job.run(opened(), watch, site.keep(job)):
            left.remove(outcome.trial)
            yield outcome
    except Exception as error:
        yield from (failed(trial, job.title, error) for trial in left)


def attempted(trial: str, title: str, run: Callable[[], tuple[Mapping[str, Any], Mapping[str, bytes]]]) -> TrialOutcome:
    """Return the outcome of one trial of several, which the others do not depend on; `run` returns result and files."""
    try:
        return TrialOutcome(trial, title, *run())
    except Exception as error:
        return failed(trial, title, error)


def failed(trial: str, title: str, error: BaseException) -> TrialOutcome:
    """Return the outcome of a trial that raised an error."""
    if isinstance(error, AuditError):
        return TrialOutcome(trial, title, error=str(error))
    trace = "".join(traceback.format_exception(error))
    return TrialOutcome(trial, title, error=in_one_line(error), trace=trace)


class Opened:
    """The settings that one process has opened; the one that was used least recently is closed for a new one.

    Args:
        most: Number of settings that stay open.
    """

    def __init__(self, most: int = 2) -> None:
        self._most = most
        self._open: dict[int, Any] = {}

    def get(self, number: int, load: Callable[[], Setting]) -> Any:
        """Return the open setting with this number, which `load` returns. Raise the errors of `Setting.open`."""
        if number in self._open:
            found = self._open.pop(number)
        else:
            if len(self._open) >= self._most:
                self._open.pop(next(iter(self._open)))
            found = load().open()
        self._open[number] = found
        return found
